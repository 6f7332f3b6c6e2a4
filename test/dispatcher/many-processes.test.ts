// Several processes on one Postgres, which ring each other when there is something to send.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { caller, newNotice, unique } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const ENDPOINTS = 4;

let database: Awaited<ReturnType<typeof createDatabase>>;
let front: Service;
let dispatchers: Service[];
let sink: Sink;
const call = caller(() => front);

before(async () => {
  database = await createDatabase();
  const env = {
    DATABASE_URL: database.url,
    SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
    // Nothing here may depend on the tick.
    DISPATCH_INTERVAL_MS: '3600000',
    RATE_LIMIT_MAX: '1000000',
  };
  const all = [startService({ ...env, DISPATCH_ENABLED: 'false' }), ...[1, 2, 3].map(() => startService(env))];
  [front, ...dispatchers] = (await Promise.all(all)) as [Service, ...Service[]];
  sink = await startSink();
});

after(async () => {
  await sink.close();
  await Promise.all([front, ...dispatchers].map((service) => service.stop()));
  await database.drop();
});

async function register(events: string[]): Promise<string> {
  const path = `/${unique()}`;
  const made = await call('POST', HOOKS, { body: { url: sink.url(path), events } });
  assert.equal(made.status, 201, made.text);
  return path;
}

test('a process that sends nothing itself rings those that do: no webhook waits for the tick', async () => {
  const path = await register(['order.sent']);
  for (let i = 1; i <= 10; i++) {
    assert.equal((await call('POST', '/api/v1/notifications', { body: newNotice() })).status, 202);
    await sink.received(path, i);
  }
  assert.ok(!front.lines.some(({ msg }) => msg === 'notification sent'));
});

test('three dispatchers share the work, and each webhook comes once', async (t) => {
  const type = `test.t${unique()}`;
  const paths = await Promise.all(Array.from({ length: ENDPOINTS }, () => register([type])));
  const events = 100;
  const body = (i: number) => ({ ...newNotice(), type, data: { i } });
  const asked = Array.from({ length: events }, (_, i) => call('POST', '/api/v1/notifications', { body: body(i) }));
  for (const answer of await Promise.all(asked)) assert.equal(answer.status, 202, answer.text);
  const start = performance.now();
  const arrived = (await Promise.all(paths.map((path) => sink.received(path, events)))).flat();
  const last = Math.max(...arrived.map(({ at }) => at));
  t.diagnostic(`the last came ${Math.round(last - start)} ms after it was accepted`);

  const sentBy = () =>
    dispatchers.map(
      ({ lines }) =>
        lines.filter((line) => line.msg === 'notification sent' && line.type === type && line.channel === 'webhook')
          .length,
    );
  const sent = () => sentBy().reduce((sum, count) => sum + count);
  await until(async () => sent() >= ENDPOINTS * events && (await pending()) === 0);
  const hooks = sink.hooks.filter(({ path }) => paths.includes(path));
  assert.equal(hooks.length, ENDPOINTS * events);
  assert.equal(new Set(hooks.map(({ headers }) => headers['webhook-id'])).size, ENDPOINTS * events);
  assert.equal(sent(), ENDPOINTS * events);
  assert.ok(sentBy().filter((count) => count > 0).length > 1, 'one dispatcher did it all');
  t.diagnostic(`shares: ${sentBy().join(', ')}`);
});

async function pending(): Promise<number> {
  const [row] = await query(database.name, 'select count(*)::int as pending from deliveries');
  return row?.pending as number;
}

/** Polls, as each process settles in its own time. */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await done()); await pass(20)) {
    if (performance.now() > end) assert.fail('not settled within ten seconds');
  }
}
