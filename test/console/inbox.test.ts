// The local inbox: what a developer sees of the emails and webhooks that the service sends.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import type { Db, SessionDb } from '../../src/db.ts';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';
import type { OpenDb } from '../../src/platform/open-db.ts';
import { startBrowser, violationsOn, watchedPage } from '../support/browser.ts';
import { consoleOn } from '../support/console.ts';
import { createDatabase, openTestPostgres } from '../support/databases.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { enqueue, newEndpoint, rowsOf } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

const SECRET = `whsec_${Buffer.alloc(32, 0xfe).toString('base64')}`;
const EVIL = `</code></pre><script>alert(1)</script><img src=x onerror=alert(1)>"'&`;
const BODY = '{"type":"invoice.paid","timestamp":"2026-11-26T10:00:00.000Z","data":{"name":"Zoë"}}';

describe('the inbox', () => {
  let database: OpenDb<SessionDb>;
  let db: Db;
  before(async () => {
    database = await openTestPostgres();
    db = database.db;
  });
  after(() => database.close());

  /** An endpoint that points to an inbox name, with `SECRET`. */
  const pointing = async (name: string) =>
    newEndpoint(db, `http://localhost:1/console/inbox/${name}?a=b`, await testDeps().secrets.seal(SECRET));

  type Sent = { body?: string; id?: string; headers?: Record<string, string> };
  const signed = ({ body = BODY, id = crypto.randomUUID(), headers = {} }: Sent = {}) => ({
    raw: body,
    headers: {
      'Content-Type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
      'webhook-signature': new Webhook(SECRET).sign(id, new Date(), body),
      ...headers,
    },
  });
  /** Returns the cells of each row of a page's tables, as text. */
  const cellsOf = (html: string) =>
    Array.from(html.matchAll(/<tr>(.*?)<\/tr>/gs), ([, row = '']) =>
      Array.from(row.matchAll(/<td[^>]*>(.*?)<\/td>/gs), ([, cell = '']) => cell.replace(/<[^>]*>/g, '').trim()),
    ).filter((cells) => cells.length > 0);
  const LINK = /href="\/console(\/inbox\/[\w-]+\/received\/[\w-]+)"/;
  const linkIn = (html: string) => LINK.exec(html)?.[1] ?? '';

  test('verifies what it received, and counts the attempts of each', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    await pointing('verified');
    for (const sent of [signed({ id: 'a' }), signed({ id: 'a' }), { ...signed({ id: 'b' }), raw: `${BODY} ` }]) {
      assert.equal((await open('/inbox/verified', sent)).status, 204);
    }
    const { text } = await open('/inbox/verified', { cookie });
    assert.deepEqual(
      cellsOf(text).map((row) => row.slice(0, 4)),
      [
        ['invoice.paid', 'not verified', '1', '204'],
        ['invoice.paid', 'verified', '2', '204'],
        ['invoice.paid', 'verified', '1', '204'],
      ],
    );
    assert.ok(!text.includes(SECRET));
    const one = await open(linkIn(text), { cookie });
    assert.match(one.text, /No matching signature found/);
    assert.match(one.text, /&quot;name&quot;: &quot;Zoë&quot;/);
    const links = Array.from(text.matchAll(new RegExp(LINK, 'g')), ([, link = '']) => link);
    const signedByHand = await open(links.at(-1) as string, { cookie });
    assert.equal(signedByHand.status, 200, 'its webhook-id is no id of ours');
    assert.match((await open('/inbox', { cookie })).text, />verified<\/a>/);
  });

  test('tells of no endpoint that was not created, if a form is sent again with another name', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const send = (name: string) => open('/inbox', { form: { name, key: 'form-1' }, cookie });
    assert.equal((await send('this')).location, '/console/inbox/this?done=created');
    const { status, text } = await send('that');
    assert.deepEqual([status, /Idempotency-Key/.test(text)], [422, true]);
  });

  test('answers as was chosen for its name, and 204 before', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const answers: [answer: string, status: number, retryAfter: string | null][] = [
      ['fail', 500, null],
      ['gone', 410, null],
      ['slow', 429, '7'],
      ['unavailable', 503, '7'],
      ['accept', 204, null],
    ];
    for (const [answer, status, retryAfter] of answers) {
      const chosen = await open('/inbox/chosen/answer', { cookie, form: { answer, retryAfter: '7' } });
      assert.equal(chosen.location, '/console/inbox/chosen?done=chosen');
      const got = await open('/inbox/chosen', signed());
      assert.deepEqual([got.status, got.headers.get('Retry-After')], [status, retryAfter]);
      assert.equal((await open('/inbox/another', signed())).status, 204);
    }
    const wrong = await open('/inbox/chosen/answer', { cookie, form: { answer: 'toString' } });
    assert.equal(wrong.status, 422);
  });

  test('keeps the last 200 of all names', async () => {
    const { open, signIn } = consoleOn(db);
    await open('/inbox/oldest', signed());
    for (let n = 0; n < 200; n++) await open('/inbox/flood', signed());
    const kept = "select count(*)::int as count from idempotency_keys where route like 'inbox:%'";
    assert.deepEqual(await rowsOf(db, kept), [{ count: 200 }]);
    assert.match((await open('/inbox/oldest', { cookie: await signIn() })).text, /Nothing yet/);
  });

  test('shows whatever it is sent as text, and no cookie', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const deep = `{"type":${JSON.stringify(EVIL)},"data":${'['.repeat(32_000)}${']'.repeat(32_000)}}`;
    const evil = { 'X-Evil': EVIL, 'webhook-id': EVIL, 'Content-Type': `text/${EVIL}`, Cookie: 'a=SECRET' };
    for (const raw of [EVIL, deep, '', 'null', `"${EVIL}`, '{"type":"\\u0000"}', '\0', `{"type":7,"data":"${EVIL}"}`]) {
      assert.equal((await open('/inbox/evil', { raw, headers: evil })).status, 204, raw.slice(0, 40));
      const list = await open('/inbox/evil', { cookie });
      const one = await open(linkIn(list.text), { cookie });
      assert.equal(one.status, 200, raw.slice(0, 40));
      assert.match(one.text, /alert\(1\)/);
      assert.ok(!one.text.includes('SECRET'));
      assert.ok(one.text.length < 50 * 65_536);
      for (const { text } of [list, one]) {
        assert.doesNotMatch(text, /<script>|<img/);
        assert.doesNotMatch(text.replace(/"[^"]*"/g, '""'), /<[^>]* (?:style|on\w+)=|<style/);
      }
    }
    const large = { raw: 'x'.repeat(65_537), headers: { 'Content-Length': '65537' } };
    assert.equal((await open('/inbox/evil', large)).status, 413);
    for (const name of ['UPPER', 'a_b', 'x'.repeat(41), '%2e%2e', EVIL]) {
      assert.equal((await open(`/inbox/${encodeURIComponent(name)}`, { raw: BODY })).status, 404, name);
    }
  });

  test('limits how often it is called, apart from what else comes from there', async () => {
    const { open, signIn } = consoleOn(db, { limiter: memoryLimiter(2, 60) });
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await open('/inbox/limited', signed())).status);
    assert.deepEqual(statuses, [204, 204, 429]);
    const signedIn = await open('/inbox', { cookie: await signIn() });
    assert.equal(signedIn.status, 200);
  });

  test('shows emails as their readers see them, with markup as text', async () => {
    const { open, signIn } = consoleOn(db);
    const cookie = await signIn();
    const [id] = await enqueue(db, 1, null, JSON.stringify({ type: 'report.ready', data: { name: EVIL, pages: 7 } }));
    assert.ok(cellsOf((await open('/inbox', { cookie })).text).some((row) => row[1] === 'someone@example.com'));
    const { text } = await open(`/inbox/emails/${id}`, { cookie });
    assert.match(text, /<h1>report\.ready<\/h1>/);
    assert.match(text, /<div class="card mail">name: &lt;\/code&gt;.*pages: 7\n<\/div>/s);
    assert.match(text, new RegExp(`href="/console/notifications/${id}"`));
    assert.equal((await open('/inbox/emails/7', { cookie })).status, 404);
    assert.equal((await open(`/inbox/emails/${crypto.randomUUID()}`, { cookie })).status, 404);
  });

  test('shows what its scopes allow, and nothing without a session', async () => {
    const { open, signIn } = consoleOn(db);
    assert.match((await open('/inbox/scopes')).location ?? '', /^\/console\/sign-in/);
    const reader = await signIn({ scope: 'notifications:read' });
    const page = await open('/inbox', { cookie: reader });
    assert.equal(page.status, 200);
    assert.doesNotMatch(page.text, /Create an endpoint|href="\/console\/inbox\/[^e]/);
    for (const path of ['/inbox/scopes', `/inbox/scopes/received/${crypto.randomUUID()}`]) {
      assert.equal((await open(path, { cookie: reader })).status, 403, path);
    }
    const watcher = await signIn({ scope: 'notifications:read webhooks:read' });
    assert.doesNotMatch(
      (await open('/inbox/scopes', { cookie: watcher })).text,
      /<form method="post" action="\/console\/inbox/,
    );
    for (const path of ['/inbox', '/inbox/scopes/answer', '/inbox/scopes/test']) {
      const form = { name: 'scopes', answer: 'fail' };
      assert.equal((await open(path, { cookie: watcher, form })).status, 403, path);
    }
    const endpoints = await signIn({ scope: 'webhooks:read' });
    assert.equal((await open('/inbox', { cookie: endpoints })).status, 403);
  });

  test('is not there in production', async () => {
    // An unavailable database would be a 503.
    const { open, signIn } = consoleOn(noDb, { settings: { ...testDeps().settings, production: true } });
    const cookie = await signIn();
    const id = crypto.randomUUID();
    const paths = ['/inbox', '/inbox/', '/inbox/test', '/inbox/test/answer', `/inbox/emails/${id}`];
    for (const path of paths) {
      for (const options of [{ cookie }, {}, { ...signed() }, { cookie, form: { name: 'test', answer: 'fail' } }]) {
        assert.equal((await open(path, options)).status, 404, path);
      }
    }
    assert.doesNotMatch((await open('/notifications', { cookie })).text, /inbox/i);
  });
});

test('the inbox in Chromium: an endpoint is made, tested and retried, and an email is read', async (t) => {
  const database = await createDatabase();
  t.after(() => database.drop());
  const service = await startService({
    DATABASE_URL: database.url,
    DISPATCH_INTERVAL_MS: '200',
    DELIVERY_TIMEOUT_MS: '3000',
  });
  t.after(() => service.stop());
  const browser = await startBrowser();
  t.after(() => browser.close());
  const { page, complaints } = await watchedPage(browser, service.url);
  const click = (role: 'button' | 'link', name: string) => page.getByRole(role, { name, exact: true }).click();
  const row = (name: RegExp) => page.getByRole('row', { name }).waitFor();
  const answerWith = async (label: string) => {
    await page.getByLabel('Answer webhooks with').selectOption({ label });
    await click('button', 'Use this answer');
    await page.getByRole('status').getByText('The next webhook is answered that way.').waitFor();
  };

  await page.goto(/^Console: (\S+)$/m.exec(service.output())?.[1] as string);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await click('link', 'Inbox');
  await page.getByText('No webhook was received here.').waitFor();
  await page.getByText('No email yet.').waitFor();
  await page.getByLabel('Name').fill('first');
  await click('button', 'Create an endpoint');
  await page.getByRole('heading', { level: 1, name: 'Inbox first' }).waitFor();
  await click('button', 'Send a test');
  // The page refreshes by itself.
  await row(/webhook\.test verified 1 204/);

  await answerWith('500: fail');
  await click('button', 'Send a test');
  await row(/webhook\.test verified 1 500/);
  await query(database.name, 'update deliveries set due_at = now() where lease is null');
  await row(/webhook\.test verified 2 500/);
  await answerWith('None in time');
  await query(database.name, 'update deliveries set due_at = now() where lease is null');
  await row(/webhook\.test verified 3 none in time/);
  // An arrival moves the rows, not the focus.
  await page.getByRole('link', { name: 'webhook.test' }).first().focus();
  const focused = () => page.evaluate<string | null>("document.activeElement.getAttribute('href')");
  const at = await focused();
  await fetch(`${service.url}/console/inbox/first`, { method: 'POST', body: '{"type":"late.arrival"}' });
  await row(/late\.arrival/);
  assert.deepEqual([await focused(), typeof at], [at, 'string']);
  await page.getByRole('link', { name: 'webhook.test' }).first().click();
  await page
    .getByRole('rowheader')
    .or(page.getByRole('cell', { name: 'webhook-signature' }))
    .waitFor();
  await page.locator('dd a .badge').click();
  await page.getByText('Attempt 3: timed out').waitFor();

  const body = JSON.stringify({ email: 'ada@example.com', type: 'invoice.paid', data: { invoice: 'INV-7' } });
  await fetch(`${service.url}/api/v1/notifications`, { method: 'POST', headers: headers(), body });
  await click('link', 'Inbox');
  await row(/invoice\.paid ada@example\.com sent/);
  const paths = ['/inbox', '/inbox/first'];
  await click('link', 'invoice.paid');
  await page.getByText('invoice: INV-7').waitFor();
  paths.push(new URL(page.url()).pathname.replace('/console', ''));
  await page.goto(`${service.url}/console/inbox/first`);
  await page.getByRole('link', { name: 'webhook.test' }).first().click();
  await page.getByRole('heading', { name: 'Headers' }).waitFor();
  paths.push(new URL(page.url()).pathname.replace('/console', ''));
  for (const path of paths) {
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(`${service.url}/console${path}`);
    assert.deepEqual(await violationsOn(page), [], path);
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.deepEqual(await violationsOn(page, ['color-contrast']), [], `${path}, in dark`);
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 360, height: 740 });
    const [wide, room] = await page.evaluate<[number, number]>('[document.documentElement.scrollWidth, innerWidth]');
    assert.ok(wide <= room, `${path} is ${wide} wide`);
  }
  assert.deepEqual(complaints, []);
});
