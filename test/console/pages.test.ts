import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { duration } from '../../src/console/parts.tsx';
import { pretty, verification } from '../../src/console/payload.ts';
import type { Db, SessionDb } from '../../src/db.ts';
import type { OpenDb } from '../../src/platform/open-db.ts';
import { consoleOn } from '../support/console.ts';
import { openProxied, openTestPostgres } from '../support/databases.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { enqueue, execute, newEndpoint } from '../support/notifications.ts';

const EVIL = `</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>"'&`;

describe('pages', () => {
  let database: OpenDb<SessionDb>;
  let db: Db;
  before(async () => {
    database = await openTestPostgres();
    db = database.db;
  });
  after(() => database.close());

  test('show what others wrote as text, wherever it stands', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn({ sub: EVIL });
    const endpoint = await newEndpoint(db, `https://example.com/${EVIL}`);
    await execute(db, `update webhook_endpoints set description = $evil$${EVIL}$evil$`);
    const [id = ''] = await enqueue(db, 1, endpoint, JSON.stringify({ type: 'x', data: { [EVIL]: EVIL } }));
    await execute(
      db,
      `insert into attempts (notification_id, at, duration_ms, error, dispatcher)
       values ('${id}', now(), 1, $evil$${EVIL}$evil$, 'd')`,
    );
    const paths = [
      '',
      '/notifications',
      `/notifications/${id}`,
      '/endpoints',
      `/endpoints/${endpoint}`,
      '/users',
      '/actions',
      `/notifications?text=${encodeURIComponent(EVIL)}&type=${encodeURIComponent(EVIL)}&changed=${encodeURIComponent(EVIL)}`,
      `/users?email=${encodeURIComponent(EVIL)}`,
      `/endpoints/${encodeURIComponent(EVIL)}`,
    ];
    for (const path of paths) {
      const { text, headers } = await open(path, { cookie });
      assert.match(text, /alert\(1\)/, path);
      assert.doesNotMatch(text, /<script>|<img/, path);
      assert.equal(headers.get('Cross-Origin-Opener-Policy'), 'same-origin');
      assert.match(headers.get('Content-Security-Policy') ?? '', /^default-src 'none'; script-src 'self'; style-src/);
      const tags = text.replace(/"[^"]*"/g, '""');
      assert.doesNotMatch(tags, /<[^>]* (?:style|on\w+)=|<style/, path);
    }
  });

  test('hold a payload of 64 KB of nesting, and of nothing but values', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const deep = `{"data":${'['.repeat(32_000)}${']'.repeat(32_000)}}`;
    const wide = `{"data":${'['.repeat(90)}${'1,'.repeat(32_000)}1${']'.repeat(90)}}`;
    for (const body of [deep, wide]) {
      const [id = ''] = await enqueue(db, 1, null, body);
      const { status, text } = await open(`/notifications/${id}`, { cookie });
      assert.equal(status, 200);
      assert.ok(text.length < 50 * body.length, `${text.length}`);
    }
  });

  test('say in time that the database is slow or away, in words and with the id of the request', async (t) => {
    const away = consoleOn(noDb);
    const cookie = await away.signIn();
    for (const path of ['', '/notifications', '/endpoints', '/users', '/actions']) {
      const { status, text, headers } = await away.open(path, { cookie });
      assert.equal(status, 503, path);
      assert.match(text, /The database is unavailable\..*Nothing was changed/);
      assert.ok(text.includes(headers.get('X-Request-Id') ?? 'no id'));
      assert.match(text, /<nav aria-label="Sections">/, 'within the layout');
    }
    const { db: silent, proxy } = await openProxied(t);
    const settings = { ...testDeps().settings, requestTimeoutMs: 300 };
    proxy.goDead();
    proxy.blackHole(true);
    const slow = consoleOn(silent, { settings });
    for (const form of [undefined, { key: 'k' }]) {
      const { status, text } = await slow.open(form ? '/notifications/all/redrive' : '/notifications', {
        cookie,
        ...(form && { form }),
      });
      assert.ok(status === 504 || status === 503, `${status}`);
      assert.match(text, /<h1>(Deadline exceeded|Service unavailable|Outcome unknown)<\/h1>/);
    }
  });

  test('are measured by their own route, have the policy, and name their methods to one that they do not take', async () => {
    const measured: string[] = [];
    const metrics = {
      ...testDeps().metrics,
      requestFinished: (method: string, route: string, status: number) =>
        void measured.push(`${method} ${route} ${status}`),
    };
    const { open } = consoleOn(db, { metrics });
    const id = crypto.randomUUID();
    const asked: [method: string, path: string, status: number, allow: string | null][] = [
      ['GET', '/sign-in', 200, null],
      ['GET', `/endpoints/${id}`, 303, null],
      ['PUT', `/endpoints/${id}`, 405, 'GET, HEAD'],
      ['DELETE', `/endpoints/${id}/pause`, 405, 'POST'],
      ['PUT', '/notifications/chosen', 405, 'POST'],
      ['GET', '/nothing', 404, null],
    ];
    for (const [method, path, status, allow] of asked) {
      const { status: got, headers } = await open(path, { method });
      assert.deepEqual([got, headers.get('Allow')], [status, allow], `${method} ${path}`);
      assert.match(headers.get('RateLimit-Policy') ?? '', /^"default";q=\d+;w=\d+$/);
    }
    assert.deepEqual(measured, [
      'GET /console/sign-in 200',
      'GET /console/endpoints/:id 303',
      'PUT /console/* 405',
      'DELETE /console/* 405',
      'PUT /console/* 405',
      'GET unmatched 404',
    ]);
  });

  test('say what is wrong with a filter beside it, and look for nothing', async () => {
    const { open, signIn } = consoleOn(noDb);
    const { status, text } = await open('/notifications?createdAfter=yesterday&endpointId=7&status=', {
      cookie: await signIn(),
    });
    assert.equal(status, 422);
    assert.match(text, /id="createdAfter-problem">must be an RFC 3339 time/);
    assert.match(text, /id="endpointId-problem">must be the id of a webhook endpoint/);
  });

  test('keep what was typed in a filter, and never act on more than the filters say', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const typed = new URLSearchParams({ text: ' ends in Z', createdAfter: '2026-01-01T10:00:00+02:00', status: 'x' });
    const { text } = await open(`/notifications?${typed}`, { cookie });
    assert.match(text, /name="text"[^>]* value=" ends in Z"/);
    assert.match(text, /name="createdAfter"[^>]* value="2026-01-01T08:00:00"/);
    assert.match(text, /<select id="status"[^>]* aria-invalid="true" aria-describedby="status-problem"/);
    for (const form of [undefined, { key: 'k', typo: 'x.y' }]) {
      const refused = await open(`/notifications/all/redrive${form ? '' : '?typo=x.y'}`, {
        cookie,
        ...(form && { form }),
      });
      assert.deepEqual([refused.status, /One of the filters does not exist/.test(refused.text)], [422, true]);
    }
    for (const [status, code] of [
      ['sent', 422],
      ['dead', 200],
    ] as const) {
      assert.equal((await open(`/notifications/all/redrive?status=${status}`, { cookie })).status, code);
    }
  });

  test('are found with a slash too many at the front page', async () => {
    const { open } = consoleOn(db);
    const { status, location } = await open('/', {});
    assert.deepEqual([status, location], [303, '/console']);
  });

  test('go back to what was filtered after some were chosen, or none', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const [id = ''] = await enqueue(db, 1);
    const list = await open('/notifications?status=pending&text=e', { cookie });
    assert.match(list.text, /id="chosen"[^>]*><input type="hidden" name="status" value="pending"/);
    const form = { bulk: 'cancel', status: 'pending', text: 'e' };
    const none = await open('/notifications/chosen', { cookie, form });
    assert.equal(none.location, '/console/notifications?status=pending&text=e&changed=none');
    assert.match((await open('/notifications?changed=none', { cookie })).text, /Nothing was chosen\./);
    const chosen = await open('/notifications/chosen', { cookie, form: { ...form, id } });
    assert.match(chosen.text, /<a href="\/console\/notifications\?status=pending&amp;text=e">Go back/);
    assert.match(chosen.text, /<input type="hidden" name="text" value="e"/);
    const { location } = await open('/notifications/chosen/cancel', { cookie, form: { ...form, id } });
    assert.equal(location, '/console/notifications?status=pending&text=e&changed=1');
  });

  test('are fetched again without the payload, and less often while nothing is to happen', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const [id = ''] = await enqueue(db, 1, await newEndpoint(db), '{"type":"x","data":"needle"}');
    const seconds = async (due: string) => {
      await execute(db, `update deliveries set due_at = now() + interval '${due}' where notification_id = '${id}'`);
      const { text } = await open(`/notifications/${id}`, { cookie, headers: { 'X-Refresh': '1' } });
      assert.doesNotMatch(text, /needle/);
      return Number(/id="live" data-refresh-s="(\d+)"/.exec(text)?.[1]);
    };
    assert.match((await open(`/notifications/${id}`, { cookie })).text, /needle/);
    assert.deepEqual([await seconds('1 second'), await seconds('1 hour'), await seconds('-1 hour')], [2, 30, 30]);
  });

  test('show an attempt under way as such, why a pending one waits, and when each one ended', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const endpoint = await newEndpoint(db);
    const [id = ''] = await enqueue(db, 1, endpoint);
    const shown = async (changes: string) => {
      await execute(db, changes);
      return (await open(`/notifications/${id}`, { cookie })).text;
    };
    const leased = await shown("update deliveries set lease = uuid_v7(), due_at = now() + interval '60 s'");
    assert.match(leased, /Being delivered/);
    assert.match(leased, /id="live" data-refresh-s="2"/);
    assert.doesNotMatch(leased, />Due |Next attempt|\/cancel"/);
    // A delivery whose lease has ended is due again, and may be canceled.
    const ended = await shown("update deliveries set due_at = now() - interval '3 h'");
    assert.match(ended, /Due <time[^>]*>3 h ago<.*\/cancel"/);
    const paused = await shown("update webhook_endpoints set status = 'paused', paused_until = 'infinity'");
    assert.match(paused, /<span class="badge paused">paused<\/span> <a class="long" href="\/console\/endpoints/);
    const canceled = await shown(
      `with gone as (delete from deliveries where notification_id = '${id}')
       insert into outcomes values ('${id}', 'canceled', 0, null, '2026-11-26T10:00:00.123Z')`,
    );
    assert.match(canceled, /<li class="canceled"><time[^>]*>2026-11-26 10:00:00\.123 UTC<\/time>/);
  });

  test('number the attempts only where all of them are shown', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const [id = ''] = await enqueue(db, 1);
    const attempted = (count: number) =>
      execute(
        db,
        `insert into attempts (notification_id, at, duration_ms, error, dispatcher)
         select '${id}', now() - n * interval '1 minute', 1, 'e' || n, 'd' from generate_series(1, ${count}) n`,
      );
    await attempted(2);
    assert.match((await open(`/notifications/${id}`, { cookie })).text, /Attempt 1: e2.*Attempt 2: e1/s);
    await execute(db, `delete from attempts where notification_id = '${id}'`);
    await attempted(150);
    const { text } = await open(`/notifications/${id}`, { cookie });
    assert.match(text, /Earlier attempts are not shown\..*Attempt: e100.*Attempt: e1/s);
    assert.doesNotMatch(text, /Attempt 1/);
  });

  test('raise an alarm outside of what is replaced every few seconds, in words that stay the same', async () => {
    const { open, signIn } = consoleOn(db);
    const { text } = await open('', { cookie: await signIn() });
    const [alarm = ''] = /<div role="alert" id="alarm">.*?<\/div><div id="live"/.exec(text) ?? [];
    assert.match(alarm, /No dispatcher is alive\./);
    assert.doesNotMatch(alarm, / ago/);
  });

  test('say what becomes of a test, and have no notice for a name that is none', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const id = await newEndpoint(db);
    const shown = async (status: string, until = 'null') => {
      await execute(
        db,
        `update webhook_endpoints set status = '${status}', paused_until = ${until} where id = '${id}'`,
      );
      return (await open(`/endpoints/${id}?done=constructor`, { cookie })).text;
    };
    const requested = await shown('paused', "'infinity'");
    assert.match(requested, /until it is enabled.*A test waits until the pause ends\./);
    assert.doesNotMatch(requested, />Pause</);
    // An endpoint that failed too often may be paused for longer, as in the API.
    const failing = await shown('paused', "now() + interval '1 hour'");
    assert.match(failing, /<dt>Paused<\/dt><dd>until <time.*>Enable<.*>Pause<.*A test waits until the pause ends\./);
    const ended = await shown('paused', "now() - interval '1 hour'");
    assert.match(ended, /<dt>Paused<\/dt><dd>ended <time[^>]*>[^<]*<\/time>; deliveries have resumed</);
    assert.match(ended, />Pause</);
    assert.doesNotMatch(ended, /A test waits/);
    assert.match(await shown('disabled'), /A test is not sent/);
    assert.doesNotMatch(await shown('enabled'), /A test|class="notice/);
  });

  test('link an action to what it was about, for whoever may see that, while it exists', async () => {
    const { open, signIn } = consoleOn(db);
    const [target, changed, deleted] = [crypto.randomUUID(), crypto.randomUUID(), crypto.randomUUID()];
    await execute(
      db,
      `insert into actions (id, action, sub, status, target_id) values
       ('${changed}', 'webhook_endpoint.pause', 's', 'finished', '${target}'),
       ('${deleted}', 'webhook_endpoint.delete', 's', 'finished', '${target}')`,
    );
    const isLinked = async (id: string, scope: string) => {
      const { text } = await open(`/actions/${id}`, { cookie: await signIn({ scope }) });
      assert.ok(text.includes(`>${target}<`));
      return text.includes(`href="/console/endpoints/${target}"`);
    };
    assert.equal(await isLinked(changed, 'notifications:read webhooks:read'), true);
    assert.equal(await isLinked(changed, 'notifications:read'), false);
    assert.equal(await isLinked(deleted, 'notifications:read webhooks:read'), false);
  });

  test('say of which notifications an endpoint has so many pending', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const id = await newEndpoint(db);
    for (const path of ['/endpoints', `/endpoints/${id}`]) {
      assert.match((await open(path, { cookie })).text, />Pending of the last 100</, path);
    }
  });

  test('find notifications by each filter, page by page', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const endpoint = await newEndpoint(db);
    const ids = await enqueue(db, 25, endpoint, '{"type":"x","data":"old needle"}');
    const found = async (query: string) => {
      const all: string[] = [];
      for (let path: string | undefined = `/notifications?${query}`; path; ) {
        const { text } = await open(path, { cookie });
        all.push(
          ...Array.from(
            text.matchAll(/<td class="long"><a href="\/console\/notifications\/([^"]+)"/g),
            (m) => m[1] as string,
          ),
        );
        const next = /<a href="(\?[^"]*)" rel="next"/.exec(text)?.[1];
        path = next && `/notifications${next.replaceAll('&amp;', '&')}`;
      }
      return all.sort();
    };
    assert.deepEqual(await found(`endpointId=${endpoint}`), [...ids].sort());
    assert.deepEqual(await found(`endpointId=${endpoint}&text=needle&status=pending&channel=webhook`), [...ids].sort());
    assert.deepEqual(await found(`endpointId=${endpoint}&createdAfter=2026-01-01T10:00`), [...ids].sort());
    for (const none of ['text=hay', 'status=dead', 'channel=email', 'createdBefore=2020-01-01T10:00', 'type=y.z']) {
      assert.deepEqual(await found(`endpointId=${endpoint}&${none}`), [], none);
    }
    // A page looks at a limited number; an action on all that match looks at every one.
    await enqueue(db, 10_001);
    const { text } = await open('/notifications?text=old+needle', { cookie });
    assert.match(text, /None among the 10,000 that this page looked at\./);
    assert.match(text, /href="\/console\/notifications\/all\/cancel\?text=old\+needle"/);
    assert.doesNotMatch(text, /chosen…/);
    assert.deepEqual(await found('text=old+needle'), [...ids].sort());
  });
});

test('a duration is given in the unit that it rounds to', () => {
  const given = [0, 999.7, 1500, 59_400, 59_700, 3_599_000, 86_399_000, 2 * 86_400_000].map(duration);
  assert.deepEqual(given, ['0 ms', '1 s', '1.5 s', '59 s', '1 min', '1 h', '1 d', '2 d']);
});

describe('a payload', () => {
  test('is shown on lines without a change to what it says', () => {
    const text = '{"a" : [1.0, 12345678901234567890, {}, [ ]], "b\\"{,": "x: {\\\\", "c":{"d":null}}';
    assert.equal(
      pretty(text),
      '{\n  "a": [\n    1.0,\n    12345678901234567890,\n    {},\n    []\n  ],\n  "b\\"{,": "x: {\\\\",\n  "c": {\n    "d": null\n  }\n}',
    );
    assert.deepEqual(JSON.parse(pretty(text)), JSON.parse(text));
  });

  test('is sent once, whatever curl could make of its URL', () => {
    const { send } = verification({ id: 'x', payload: '{}', url: 'http://127.0.0.1/?a={1,2}&b=[1-3]' });
    assert.match(send, /curl -g -i 'http:\/\/127\.0\.0\.1\/\?a=\{1,2\}&b=\[1-3\]'/);
  });

  test('hides no character that turns the direction of text', () => {
    for (const hidden of ['\u061c', '\u200f', '\u202e', '\u2066']) {
      assert.ok(
        !verification({ id: 'x', payload: `{"a":"${hidden}"}`, url: 'http://127.0.0.1/' }).sign.includes(hidden),
      );
    }
  });

  test('is verified by scripts without comments, which an interactive zsh takes for commands', () => {
    const { sign, send } = verification({ id: 'msg_1', payload: '{}', url: 'https://example.com/' });
    assert.doesNotMatch(sign + send, /(?:^|\s)#/);
  });

  test('is signed by the shell script as the reference library has it, whatever it contains', () => {
    const payload = JSON.stringify({ type: 'x', data: `'; touch /tmp/pwned; echo "$HOME" \\ \`id\` ü %s` });
    const secret = `whsec_${Buffer.alloc(32, 0xfe).toString('base64')}`;
    const { sign } = verification({ id: 'msg_1', payload, url: 'https://example.com/' });
    const script = sign.replace('whsec_…', secret).replace('$(date +%s)', String(Math.floor(Date.now() / 1000)));
    const printed = execFileSync('sh', ['-c', `${script}\necho "webhook-timestamp: $TIMESTAMP"`], { encoding: 'utf8' });
    const headers = Object.fromEntries(
      printed
        .trim()
        .split('\n')
        .map((line) => line.split(': ')),
    );
    new Webhook(secret).verify(payload, { 'webhook-id': 'msg_1', ...headers });
  });
});
