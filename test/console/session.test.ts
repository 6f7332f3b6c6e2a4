import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { createSignInLink } from '../../src/console/sign-in-link.ts';
import type { Db, SessionDb } from '../../src/db.ts';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';
import type { OpenDb } from '../../src/platform/open-db.ts';
import { secretVerifier } from '../../src/platform/verify-jwt.ts';
import { consoleOn, cookieOf } from '../support/console.ts';
import { openTestPostgres } from '../support/databases.ts';
import { inTime, noDb, SECRET, testDeps } from '../support/deps.ts';
import { enqueue, newEndpoint, rowsOf } from '../support/notifications.ts';
import { token } from '../support/tokens.ts';

const production = { settings: { ...testDeps().settings, production: true } };

describe('signing in', () => {
  test('keeps the token sealed in a cookie that no script and no other site can use, as long as the token lives', async () => {
    const { open, signIn } = consoleOn(noDb);
    const exp = Math.floor(Date.now() / 1000) + 600;
    const given = token({ claims: { exp } });
    const { status, headers, location } = await open('/sign-in', { form: { token: `Bearer ${given}` } });
    assert.deepEqual([status, location], [303, '/console']);
    const cookie = headers.get('Set-Cookie') ?? '';
    assert.match(cookie, /; Max-Age=(59\d|600); Path=\/console; HttpOnly; SameSite=Strict$/);
    assert.ok(!cookie.includes(given.slice(0, 20)));
    const cookies = await open('/sign-in', { form: { token: token({ claims: { exp: exp + 86_400 } }) } });
    assert.match(cookies.headers.get('Set-Cookie') ?? '', /Max-Age=43200;/, 'twelve hours at most');
    assert.equal((await open('/sign-in', { cookie: await signIn() })).status, 200);
  });

  test('sets Secure everywhere but in development on loopback without TLS', async () => {
    const form = { token: token() };
    const set = async (own = {}) =>
      (await consoleOn(noDb, own).open('/sign-in', { form })).headers.get('Set-Cookie') ?? '';
    assert.doesNotMatch(await set(), /Secure/);
    const cookie = await set(production);
    assert.match(cookie, /^__Host-keelson_console=[^;]+; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    const { open } = consoleOn(noDb, production);
    const unprefixed = cookieOf(new Headers({ 'Set-Cookie': cookie })).replace('__Host-', '');
    assert.equal((await open('/endpoints', { cookie: unprefixed })).status, 303, 'a sibling could have set it');
    assert.equal(
      (await open('/endpoints', { cookie: `__Host-${unprefixed}` })).status,
      503,
      'signed in, without a database',
    );
  });

  test('says so where the browser drops the session, instead of asking again and again', async () => {
    const { open } = consoleOn(noDb, production);
    const signedIn = await open('/sign-in', { form: { token: token(), next: '/console/endpoints' } });
    assert.equal(signedIn.location, '/console/sign-in/kept?next=%2Fconsole%2Fendpoints');
    const path = signedIn.location.replace('/console', '');
    const { status, text } = await open(path);
    assert.deepEqual([status, /did not keep the session: open the console over HTTPS/.test(text)], [401, true]);
    assert.equal((await open(path, { cookie: cookieOf(signedIn.headers) })).location, '/console/endpoints');
  });

  test('is not asked for by a link on another site, with which a browser sends no cookie: the page opens itself again', async () => {
    const { open } = consoleOn(noDb);
    const path = '/notifications?status=dead&text="><b>';
    for (const site of ['cross-site', 'same-site']) {
      const { status, text } = await open(path, { headers: { 'Sec-Fetch-Site': site } });
      assert.equal(status, 200);
      assert.match(
        text,
        /<meta http-equiv="refresh" content="0; url=\/console\/notifications\?status=dead&amp;text=%22%3E%3Cb%3E"/,
      );
    }
    for (const site of ['same-origin', 'none']) {
      assert.equal((await open(path, { headers: { 'Sec-Fetch-Site': site } })).status, 303);
    }
  });

  test('goes on to the page that was asked for, and never to another site', async () => {
    const { open } = consoleOn(noDb);
    const asked = await open('/notifications?status=dead');
    assert.equal(asked.location, `/console/sign-in?next=${encodeURIComponent('/console/notifications?status=dead')}`);
    for (const [next, to] of [
      ['/console/notifications?status=dead', '/console/notifications?status=dead'],
      ['//evil.example/console', '/console'],
      ['https://evil.example/', '/console'],
      ['/console/../api', '/console'],
      ['/\\evil.example', '/console'],
      ['/console/sign-out', '/console'],
      ['javascript:alert(1)', '/console'],
    ] as const) {
      assert.equal((await open('/sign-in', { form: { token: token(), next } })).location, to, next);
    }
  });

  test('says what is wrong with a token, and limits guessing by the address', async () => {
    const { open } = consoleOn(noDb, { limiter: memoryLimiter(3, 60) });
    const tokens = [token({ claims: { exp: 1 } }), token({ secret: 'x'.repeat(40) }), 'no token at all'];
    const pages = [];
    for (const given of tokens) pages.push(await open('/sign-in', { form: { token: given } }));
    assert.deepEqual(
      pages.map(({ status, text }) => [status, /role="alert" id="problem">([^<]*)/.exec(text)?.[1]]),
      [
        [401, 'The token has expired.'],
        [401, 'The token is not valid.'],
        [401, 'Not a valid bearer token.'],
      ],
    );
    for (const { headers } of pages) assert.equal(headers.get('Set-Cookie'), null);
    const limited = await open('/sign-in', { form: { token: 'again' } });
    assert.equal(limited.status, 429);
    assert.match(limited.headers.get('Retry-After') ?? '', /^\d+$/);
    assert.equal((await open('/sign-in', { form: { token: token() } })).status, 303, 'a good token is let in');
  });

  test('is open to others while one network holds as many forms as it may', async () => {
    const form = { 'Content-Type': 'application/x-www-form-urlencoded', 'Sec-Fetch-Site': 'same-origin' };
    const holding: ReadableStreamDefaultController[] = [];
    const held = Array.from({ length: 20 }, () => {
      const body = new ReadableStream({ start: (controller) => void holding.push(controller) });
      const init = { method: 'POST', headers: form, body, duplex: 'half' } as RequestInit;
      return app.request('/console/sign-in', init, testDeps({ clientAddress: '192.0.2.1' }));
    });
    await new Promise(setImmediate);
    const from = async (clientAddress: string) =>
      (await consoleOn(noDb, { clientAddress }).open('/sign-in', { form: { token: token() } })).status;
    assert.equal(await from('192.0.2.1'), 503);
    assert.equal(await from('192.0.2.2'), 303);
    for (const controller of holding) controller.close();
    for (const { status } of await Promise.all(held)) assert.equal(status, 401);
    assert.equal(await from('192.0.2.1'), 303);
  });

  test('refuses a token that no browser would keep', async () => {
    const { open } = consoleOn(noDb);
    const { status, text } = await open('/sign-in', { form: { token: token({ claims: { more: 'x'.repeat(3000) } }) } });
    assert.deepEqual([status, /too long for a cookie/.test(text)], [401, true]);
  });
});

describe('a session', () => {
  let database: OpenDb<SessionDb>;
  let db: Db;
  before(async () => {
    database = await openTestPostgres();
    db = database.db;
  });
  after(() => database.close());

  const actions = async () => (await rowsOf<{ count: number }>(db, 'select count(*)::int from actions'))[0]?.count;

  test('ends with its token, in the middle of an action too, and nothing is changed then', async () => {
    let now = Date.now();
    const clock = { verifier: secretVerifier(SECRET, {}, () => now), now: () => new Date(now) };
    const { open, signIn } = consoleOn(db, clock);
    const id = await newEndpoint(db);
    const cookie = await signIn({ exp: Math.floor(now / 1000) + 60 });
    assert.equal((await open(`/endpoints/${id}`, { cookie })).status, 200);
    now += 100_000;
    const before = await actions();
    const { status, text, headers } = await open(`/endpoints/${id}/pause`, { form: {}, cookie });
    assert.equal(status, 401);
    assert.match(text, /Your session has ended\. Nothing was changed\./);
    assert.match(headers.get('Set-Cookie') ?? '', /^keelson_console=; Max-Age=0/);
    assert.equal(await actions(), before);
    assert.equal((await open('', { cookie })).location, '/console/sign-in?next=%2Fconsole');
  });

  test('ends when the key that signed its token is gone; signing out removes its cookie, not copies of it', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const rotated = consoleOn(db, { verifier: secretVerifier('another secret of more than 32 bytes', {}) });
    assert.equal((await rotated.open('/endpoints', { cookie })).status, 303);
    const { headers, location } = await open('/sign-out', { form: {}, cookie });
    assert.deepEqual([location, cookieOf(headers)], ['/console/sign-in', 'keelson_console=']);
    assert.equal(
      (await open('/endpoints', { cookie })).status,
      200,
      'a copy stays valid as long as its token, for 12 hours at most',
    );
  });

  test('that is no longer valid loses its cookie, even where no more failures are let through', async () => {
    const { open } = consoleOn(db, { limiter: memoryLimiter(1, 60) });
    for (const status of [303, 429]) {
      const ended = await open('/endpoints', { cookie: 'keelson_console=x' });
      assert.equal(ended.status, status);
      assert.match(ended.headers.get('Set-Cookie') ?? '', /^keelson_console=; Max-Age=0/);
    }
  });

  test('is nobody else: not an altered cookie, not another sealed text', async () => {
    const { open, signIn, deps } = consoleOn(db);
    const cookie = await signIn();
    const sealedSecret = await deps.secrets.seal(`whsec_${'A'.repeat(44)}`);
    for (const forged of [`${cookie.slice(0, -6)}AAAAAA`, 'keelson_console=x', `keelson_console=${sealedSecret}`]) {
      assert.equal((await open('/endpoints', { cookie: forged })).status, 303, forged);
    }
  });

  test('shows what its scopes allow, and refuses the rest if it is asked for all the same', async () => {
    const { open, signIn } = consoleOn(db);
    const id = await newEndpoint(db);
    const reader = await signIn({ scope: 'webhooks:read' });
    assert.equal((await open('', { cookie: reader })).location, '/console/endpoints');
    const { text } = await open(`/endpoints/${id}`, { cookie: reader });
    const sections = Array.from(text.matchAll(/<a href="(\/console[^"]*)"/g), ([, path]) => path);
    assert.deepEqual(sections, ['/console/endpoints']);
    assert.doesNotMatch(text, /<button type="submit"(?! class="plain")/);
    for (const path of ['/notifications', '/users', '/actions', `/notifications/${id}`]) {
      assert.equal((await open(path, { cookie: reader })).status, 403, path);
    }
    const before = await actions();
    for (const action of ['pause', 'enable', 'rotate', 'test']) {
      const { status, text } = await open(`/endpoints/${id}/${action}`, { form: {}, cookie: reader });
      assert.deepEqual([status, /requires the scope webhooks:write/.test(text)], [403, true], action);
    }
    const toldReader = await signIn({ scope: 'notifications:read' });
    for (const path of ['/notifications/all/redrive', '/notifications/chosen/cancel', `/notifications/${id}/cancel`]) {
      assert.equal((await open(path, { form: {}, cookie: toldReader })).status, 403, path);
    }
    assert.equal(await actions(), before);
    const { status, text: none } = await open('', { cookie: await signIn({ scope: '' }) });
    assert.deepEqual([status, /notifications:read/.test(none)], [403, true]);
  });

  test('reads no body of whoever has none', async () => {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'Sec-Fetch-Site': 'same-origin' };
    const endless = { method: 'POST', headers, body: new ReadableStream(), duplex: 'half' } as RequestInit;
    const { status } = await app.request('/console/endpoints/x/pause', endless, testDeps({ db }));
    assert.equal(status, 401);
  });

  test('takes no form that another site sent, and nothing that is no form', async () => {
    const { open, signIn } = consoleOn(db);
    const id = await newEndpoint(db);
    const cookie = await signIn();
    const before = await actions();
    const path = `/endpoints/${id}/pause`;
    const forged: Record<string, string>[] = [
      { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.example' },
      { 'Sec-Fetch-Site': 'same-site' },
      { 'Sec-Fetch-Site': 'none' },
      { 'Sec-Fetch-Site': '', Origin: 'null' },
      { 'Sec-Fetch-Site': '', Origin: 'http://127.0.0.1:8788' },
    ];
    for (const headers of forged) {
      const { status, text } = await open(path, { form: {}, cookie, headers });
      assert.deepEqual([status, /Not from the console/.test(text)], [403, true], JSON.stringify(headers));
    }
    const json = await open(path, { form: {}, cookie, headers: { 'Content-Type': 'application/json' } });
    assert.equal(json.status, 415);
    assert.equal(await actions(), before);
    const old = { 'Sec-Fetch-Site': '', Origin: 'http://127.0.0.1:8787' };
    assert.equal((await open(path, { form: { version: '1' }, cookie, headers: old })).status, 303);
    assert.equal(await actions(), (before ?? 0) + 1);
  });

  test('begins with a link in development, which works once, for a while, and never in production', async () => {
    const { open, deps } = consoleOn(db, { developmentToken: async () => token() });
    const link = async () => new URL((await createSignInLink(deps, 'http://x', inTime())) ?? '').pathname;
    const path = (await link()).replace('/console', '');
    assert.match(path, /^\/sign-in\/[0-9a-f]{32}$/);
    for (const headers of [{}, { 'Sec-Fetch-Site': 'cross-site' }]) {
      const { status, headers: answered } = await open(path, { headers });
      assert.deepEqual([status, answered.get('Set-Cookie')], [200, null], 'looking at it does not use it up');
    }
    assert.equal((await open(path, { form: {}, headers: { 'Sec-Fetch-Site': 'cross-site' } })).status, 403);
    const all = await Promise.all(Array.from({ length: 5 }, () => open(path, { form: {} })));
    assert.deepEqual(all.map(({ status }) => status).sort(), [303, 401, 401, 401, 401]);
    const first = all.find(({ status }) => status === 303);
    const cookie = cookieOf(first?.headers ?? new Headers());
    assert.equal((await open('/endpoints', { cookie })).status, 200);

    const late = (await link()).replace('/console', '');
    await rowsOf(db, "update idempotency_keys set created_at = now() - interval '16 minutes'");
    assert.equal((await open(late, { form: {} })).status, 401);
    const refused = (await link()).replace('/console', '');
    for (const options of [{}, { form: {} }]) {
      assert.equal((await consoleOn(db, production).open(refused, options)).status, 404);
    }
    assert.equal(await createSignInLink(testDeps({ db }), 'http://x', inTime()), undefined);
  });

  test('changes an endpoint only as it was shown, and says so otherwise', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const id = await newEndpoint(db);
    const path = `/endpoints/${id}`;
    /** The form that the page's button sends. */
    const formFor = async (action: string) => {
      const { text } = await open(path, { cookie });
      const [, version = ''] =
        new RegExp(`${path}/${action}"[^>]*><input type="hidden" name="version" value="(\\d+)"`).exec(text) ?? [];
      return { version };
    };
    const send = async (action: string, form: { version?: string }) =>
      (await open(`${path}/${action}`, { form, cookie })).location;
    await send('pause', await formFor('pause'));
    const stale = await formFor('enable');
    assert.equal(await send('enable', stale), `/console${path}?done=enabled`);
    assert.equal(await send('pause', await formFor('pause')), `/console${path}?done=paused`);
    for (const form of [stale, {}, { version: '1e9' }, { version: '9'.repeat(400) }]) {
      assert.equal(await send('enable', form), `/console${path}?done=before`);
    }
    const { text } = await open(`${path}?done=before`, { cookie });
    assert.match(text, /badge paused.*until it is enabled/);
    assert.match(text, /class="notice neutral" role="status">Already done, or changed in the meantime/);
    for (const [done, holds] of [
      ['paused', true],
      ['enabled', false],
    ] as const) {
      const { text } = await open(`${path}?done=${done}`, { cookie });
      assert.equal(text.includes('class="notice good"'), holds, done);
    }
  });

  test('sends an action once, however often its form is sent', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const { text } = await open(`/endpoints/${await newEndpoint(db)}`, { cookie });
    const [, path, key] =
      /action="\/console(\/endpoints\/[^"]+\/test)"[^>]*><input type="hidden" name="key" value="([^"]+)"/.exec(
        text,
      ) as string[];
    const sent = await Promise.all([1, 2, 3].map(() => open(path as string, { form: { key: key as string }, cookie })));
    assert.equal(new Set(sent.map(({ location }) => location)).size, 1);
    assert.match(sent[0]?.location ?? '', /^\/console\/notifications\//);

    const [pending = ''] = await enqueue(db, 1);
    const canceled = `/console/notifications/${pending}`;
    const twice = [await open(`/notifications/${pending}/cancel`, { form: {}, cookie })];
    twice.push(await open(`/notifications/${pending}/cancel`, { form: {}, cookie }));
    assert.deepEqual(
      twice.map(({ status, location }) => [status, location]),
      [
        [303, canceled],
        [303, `${canceled}?done=not-canceled`],
      ],
    );
    assert.match(
      (await open(`/notifications/${pending}?done=not-canceled`, { cookie })).text,
      /class="notice neutral" role="status">Nothing was changed: it was being delivered, or was already finished\./,
    );
    assert.match(
      (await open(`/notifications/${pending}?done=before`, { cookie })).text,
      /class="notice neutral" role="status">Already done, or changed in the meantime\. Nothing was changed\./,
    );

    const rotate = path?.replace('/test', '/rotate') as string;
    const secrets = await Promise.all([1, 2].map(() => open(rotate, { form: { key: 'once' }, cookie })));
    const shown = secrets.map(({ text }) => /whsec_[\w+/=]+/.exec(text)?.[0]);
    assert.ok(shown[0] && shown[0] === shown[1], 'the same new secret');

    const [chosen = ''] = await enqueue(db, 1);
    const cancel = () =>
      open('/notifications/chosen/cancel', {
        form: [
          ['id', chosen],
          ['id', 'nonsense'],
        ],
        cookie,
      });
    assert.equal((await cancel()).location, '/console/notifications?changed=1');
    assert.equal((await cancel()).location, '/console/notifications?changed=0');
    assert.match(
      (await open('/notifications?changed=0', { cookie })).text,
      /class="notice neutral" role="status">Nothing was changed: already done, being delivered, or changed in the meantime\./,
    );
    const again = { form: { key: 'twice', type: 'no.such' }, cookie };
    const [one, two] = [
      await open('/notifications/all/redrive', again),
      await open('/notifications/all/redrive', again),
    ];
    assert.ok(one.location?.startsWith('/console/actions/') && one.location === two.location);
  });
});
