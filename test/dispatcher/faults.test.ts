// Receivers that misbehave, and a real service that must not be affected.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { after, before, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { type Answer, assertProblem, caller, unique, uniqueEmail } from '../conformance/target.ts';
import { badReceivers } from '../support/bad-receivers.ts';
import { createDatabase } from '../support/databases.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';
const TIMEOUT_MS = 3000;
const MEGABYTE = 2 ** 20;
/** Notifications for each endpoint. */
const EACH = 5;

let database: Awaited<ReturnType<typeof createDatabase>>;
let service: Service;
let sink: Sink;
const bad = badReceivers();
const call = caller(() => service);

before(async () => {
  database = await createDatabase();
  sink = await startSink();
  service = await startService({
    DATABASE_URL: database.url,
    DISPATCH_INTERVAL_MS: '200',
    DELIVERY_TIMEOUT_MS: String(TIMEOUT_MS),
    RATE_LIMIT_MAX: '1000000',
  });
});

after(async () => {
  await sink.close();
  await service.stop();
  bad.close();
  await database.drop();
});

const busyUntil =
  (retryAfter: string): RequestListener =>
  (_, response) =>
    response.writeHead(503, { 'Retry-After': retryAfter }).end();

type Fault = { title: string; url: () => Promise<string>; status: number | null; error: string; waitsS: number };

/** A first retry comes after five seconds, give or take a fifth. */
const SOON = 5;
const faults: Fault[] = [
  { title: 'never answers', url: bad.neverAnswers, status: null, error: 'timed out', waitsS: SOON },
  { title: 'answers one byte a second', url: bad.drips, status: null, error: 'timed out', waitsS: SOON },
  { title: 'answers 1 GB', url: bad.floods, status: 500, error: 'HTTP 500', waitsS: SOON },
  {
    title: 'closes mid-header',
    url: bad.closesMidHeader,
    status: null,
    error: 'connection closed',
    waitsS: SOON,
  },
  {
    title: 'redirects to a metadata address',
    url: bad.redirectsInside,
    status: 307,
    error: 'redirect refused',
    waitsS: SOON,
  },
  {
    title: 'asks to be left alone for thirty years',
    url: () => bad.http(busyUntil('999999999')),
    status: 503,
    error: 'HTTP 503',
    waitsS: 86_400,
  },
  {
    title: 'asks for a retry in the past',
    url: () => bad.http(busyUntil('Wed, 21 Oct 2015 07:28:00 GMT')),
    status: 503,
    error: 'HTTP 503',
    waitsS: SOON,
  },
  {
    title: 'has a certificate that nobody vouches for',
    url: bad.notTrusted,
    status: null,
    error: 'invalid TLS certificate',
    waitsS: SOON,
  },
  {
    title: 'has a name that does not resolve',
    url: async () => bad.resolvesToNothing(),
    status: null,
    error: 'name does not resolve',
    waitsS: SOON,
  },
  {
    title: 'is not there',
    url: bad.notThere,
    status: null,
    error: 'connection refused',
    waitsS: SOON,
  },
];

async function register(url: string, events = ['nothing.ever']): Promise<string> {
  const made = await call('POST', HOOKS, { body: { url, events } });
  assert.equal(made.status, 201, made.text);
  return made.json.id;
}

async function queueTest(endpointId: string): Promise<string> {
  const asked = await call('POST', `${HOOKS}/${endpointId}/test`);
  assert.equal(asked.status, 202, asked.text);
  return asked.json.id;
}

const times = <T>(count: number, make: () => Promise<T>) => Promise.all(Array.from({ length: count }, make));

/** Polls, as a client has to. */
async function until(id: string, done: (answer: Answer) => boolean): Promise<Answer['json']> {
  for (const end = performance.now() + 15_000; ; ) {
    const answer = await call('GET', `${NOTIFICATIONS}/${id}`);
    if (done(answer)) return answer.json;
    if (performance.now() > end) assert.fail(`still ${answer.text}`);
    await pass(50);
  }
}

const PROC = '/proc/self/status';

/** Returns the service's resident memory in bytes, and its peak. */
function memory(): { now: number; most: number } {
  const text = readFileSync(`/proc/${service.pid}/status`, 'utf8');
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]);
  return { now: kilobytes('VmRSS') * 1024, most: kilobytes('VmHWM') * 1024 };
}

test('ten endpoints misbehave: each failure is recorded, and the others hear at once, and memory stays flat', async (t) => {
  const good = sink.url(`/${unique()}`);
  const goodPath = new URL(good).pathname;
  const goodId = await register(good);
  await times(50, () => queueTest(goodId));
  await sink.received(goodPath, 50);
  const before = existsSync(PROC) ? memory().now : 0;

  const misbehaving = await Promise.all(
    faults.map(async (fault) => ({ fault, id: await register(await fault.url()) })),
  );
  const queued = await Promise.all(
    misbehaving.map(async ({ fault, id }) => ({ fault, ids: await times(EACH, () => queueTest(id)) })),
  );
  const asked = performance.now();
  await times(100, () => queueTest(goodId));
  const arrived = await sink.received(goodPath, 150);
  const took = (arrived.at(-1)?.at ?? 0) - asked;
  t.diagnostic(`100 good deliveries beside ${faults.length * EACH} bad ones: ${Math.round(took)} ms`);

  const look = async ({ fault, ids }: (typeof queued)[number]) => {
    for (const id of ids) {
      const seen = await until(id, ({ json }) => json.attemptLog.length > 0);
      const [attempt] = seen.attemptLog;
      assert.deepEqual([attempt.status, attempt.error], [fault.status, fault.error], fault.title);
      // An attempt counts as soon as it is claimed.
      if (seen.attempts > 1) continue;
      assert.deepEqual([seen.status, seen.attempts, seen.lastError], ['pending', 1, fault.error], fault.title);
      const waitsS = (Date.parse(seen.dueAt) - Date.parse(attempt.at) - attempt.durationMs) / 1000;
      const [least, most] = fault.waitsS === SOON ? [SOON * 0.8, SOON * 1.2] : [fault.waitsS, fault.waitsS];
      assert.ok(waitsS > least - 0.5 && waitsS < most + 0.5, `${fault.title}: due in ${waitsS} s`);
    }
  };
  await Promise.all(queued.map(look));
  if (!existsSync(PROC)) return t.diagnostic('memory is measured on Linux alone');
  const grown = memory().most - before;
  t.diagnostic(`memory grew by ${(grown / MEGABYTE).toFixed(0)} MB from ${(before / MEGABYTE).toFixed(0)} MB`);
  assert.ok(grown < 100 * MEGABYTE, `memory grew by ${grown} bytes`);
});

test('a URL that no webhook may have is refused', async () => {
  for (const url of [
    'https://user:pw@example.com/',
    'https://user@example.com/',
    'file:///etc/passwd',
    'gopher://x.example/',
  ]) {
    const refused = await call('POST', HOOKS, { body: { url, events: ['*'] } });
    assertProblem(refused, 422, 'validation-failed');
    assert.equal(refused.json.errors[0].pointer, '#/url');
  }
});

test('a payload of 65 KB is refused, and one just within the limit arrives', async () => {
  const type = `test.t${unique()}`;
  const path = `/${unique()}`;
  await register(sink.url(path), [type]);
  const body = (bytes: number) => ({ email: uniqueEmail(), type, data: { text: 'x'.repeat(bytes) } });
  assertProblem(await call('POST', NOTIFICATIONS, { body: body(65 * 1024) }), 413, 'content-too-large');
  const asked = await call('POST', NOTIFICATIONS, { body: body(65_000) });
  assert.equal(asked.status, 202, asked.text);
  const [told] = await sink.received(path);
  assert.equal(JSON.parse(told?.body ?? '').data.text.length, 65_000);
  assert.equal(sink.hooks.filter((hook) => hook.path === path).length, 1);
});

test('what is on its way can be neither canceled nor redriven, and ends as it would have', async () => {
  const path = `/${unique()}`;
  let answer = () => {};
  sink.reply(path, (_, response) => {
    answer = () => response.writeHead(204).end();
  });
  const id = await queueTest(await register(sink.url(path)));
  await sink.received(path);
  const refused = await Promise.all([
    ...(await times(3, () => call('POST', `${NOTIFICATIONS}/${id}/cancel`))),
    ...(await times(3, () => call('POST', `${NOTIFICATIONS}/${id}/redrive`))),
  ]);
  for (const each of refused) assertProblem(each, 409, 'conflict');
  answer();
  const sent = await until(id, ({ json }) => json.status === 'sent');
  assert.deepEqual([sent.attempts, sent.attemptLog.length], [1, 1]);
  assertProblem(await call('POST', `${NOTIFICATIONS}/${id}/cancel`), 409, 'conflict');
  assert.equal(sink.hooks.filter((hook) => hook.path === path).length, 1);
});

test('cancel against a dispatcher that is taking the very row: it is either sent or canceled, never both', async (t) => {
  const path = `/${unique()}`;
  const endpointId = await register(sink.url(path));
  const outcomes = await times(100, async () => {
    const id = await queueTest(endpointId);
    const { status } = await call('POST', `${NOTIFICATIONS}/${id}/cancel`);
    return { id, canceled: status === 200 };
  });
  const arrivals = () => sink.hooks.filter((hook) => hook.path === path).map(({ headers }) => headers['webhook-id']);
  for (const { id, canceled } of outcomes) {
    const { status, attempts } = await until(id, ({ json }) => json.status !== 'pending');
    assert.equal(status, canceled ? 'canceled' : 'sent');
    const came = arrivals().filter((arrived) => arrived === id).length;
    // On a busy machine an attempt may time out, and be retried.
    assert.ok(came <= attempts && (canceled || came > 0), `${status} after ${attempts} attempts, came ${came} times`);
  }
  t.diagnostic(`${outcomes.filter(({ canceled }) => canceled).length} of 100 canceled`);
});

test('a dead one that is redriven many times at once is sent once', async () => {
  const path = `/${unique()}`;
  const endpointId = await register(sink.url(path));
  sink.reply(path, 410);
  const id = await queueTest(endpointId);
  await until(id, ({ json }) => json.status === 'dead');
  sink.reply(path, 204);
  await call('PUT', `${HOOKS}/${endpointId}`, { body: { url: sink.url(path), events: ['nothing.ever'] } });
  const redriven = await times(10, () => call('POST', `${NOTIFICATIONS}/${id}/redrive`));
  assert.deepEqual(redriven.map(({ status }) => status).sort(), [200, ...Array(9).fill(409)]);
  const sent = await until(id, ({ json }) => json.status === 'sent');
  assert.deepEqual([sent.attempts, sent.attemptLog.length], [1, 2]);
  assert.equal(sink.hooks.filter((hook) => hook.path === path).length, 2);
});
