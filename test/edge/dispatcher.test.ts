import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { type Call, caller, newNotice, unique } from '../conformance/target.ts';
import { connectTo, untilBlocked } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';
import { startWorkers, type Workers, workersHarness } from '../support/workerd.ts';

let sink: Sink;
before(async () => {
  sink = await startSink();
});
after(() => sink.close());

/** Subscribes a path of the sink to `type`, by default one that never happens by itself. */
async function endpoint(call: Call, type = 'nothing.ever'): Promise<{ id: string; path: string }> {
  const path = `/${unique()}`;
  const answer = await call('POST', '/api/v1/webhook-endpoints', { body: { url: sink.url(path), events: [type] } });
  assert.equal(answer.status, 201, answer.text);
  return { id: answer.json.id, path };
}

const testHook = (call: Call, id: string) => call('POST', `/api/v1/webhook-endpoints/${id}/test`);
const queued = async ({ database }: Workers) => (await query(database.name, 'select 1 from deliveries')).length;

/** Polls the database, because nothing signals that a run has ended. */
async function until(done: () => Promise<boolean>, ms = 10_000): Promise<void> {
  for (const end = performance.now() + ms; !(await done()); ) {
    assert.ok(performance.now() < end, 'not within its time');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('the dispatcher on Workers', () => {
  let workers: Workers;
  let call: Call;
  before(async () => {
    workers = await startWorkers();
    call = caller(() => workers);
  });
  after(() => workers.close());

  it('delivers without waiting for the cron trigger, then leaves the database alone', async () => {
    const body = newNotice();
    const hook = await endpoint(call, body.type);
    assert.equal((await call('POST', '/api/v1/notifications', { body })).status, 202);
    await sink.received(hook.path);
    await until(async () => (await queued(workers)) === 0);
    await untilQuiet(workers);
    const before = workers.requests();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    assert.equal(workers.requests() - before, 0);
  });

  it('is rung for what was committed after its client had left', async () => {
    const body = newNotice();
    const hook = await endpoint(call, body.type);
    const other = await connectTo(workers.database.name);
    await other.text('begin; lock table messages in share row exclusive mode');
    const leaving = new AbortController();
    const asked = fetch(`${workers.url}/api/v1/notifications`, {
      method: 'POST',
      headers: headers(),
      body: JSON.stringify(body),
      signal: leaving.signal,
    });
    await untilBlocked(workers.database.name, asked);
    leaving.abort();
    await assert.rejects(asked, { name: 'AbortError' });
    await other.text('commit');
    await other.close();
    await sink.received(hook.path);
    await until(async () => (await queued(workers)) === 0);
  });

  it('delivers what is new while another delivery hangs', async () => {
    const hanging = await endpoint(call);
    const answers: ServerResponse[] = [];
    sink.reply(hanging.path, (_, response) => void answers.push(response));
    await testHook(call, hanging.id);
    await sink.received(hanging.path);
    const body = newNotice();
    const hook = await endpoint(call, body.type);
    assert.equal((await call('POST', '/api/v1/notifications', { body })).status, 202);
    await sink.received(hook.path);
    const [answer] = answers;
    assert.equal(answer?.destroyed, false, 'the other one has not timed out');
    answer?.writeHead(204).end();
    await until(async () => (await queued(workers)) === 0);
  });

  it('tries a failed one again when it is due, asking the database nothing meanwhile', async () => {
    const hook = await endpoint(call);
    sink.reply(hook.path, 500);
    await testHook(call, hook.id);
    const [first] = await sink.received(hook.path);
    await untilQuiet(workers);
    sink.reply(hook.path, 204);
    const before = workers.requests();
    const [, second] = await sink.received(hook.path, 2);
    const waited = (second?.at ?? 0) - (first?.at ?? 0);
    assert.ok(waited > 3900, `${waited} ms`);
    await until(async () => (await queued(workers)) === 0);
    assert.ok(workers.requests() - before <= 3, 'a claim and a settlement, and perhaps one more claim');
  });

  it('delivers each once when the cron trigger fires twice at a time, and rings come during a run', async () => {
    const hook = await endpoint(call);
    for (let i = 0; i < 25; i++) {
      const asked = testHook(call, hook.id);
      const crons = i === 10 ? [workers.cron(), workers.cron()] : [];
      await Promise.all([asked, ...crons]);
    }
    const hooks = await sink.received(hook.path, 25);
    await until(async () => (await queued(workers)) === 0);
    assert.equal(new Set(hooks.map(({ headers }) => headers['webhook-id'])).size, 25);
    assert.equal(sink.hooks.filter(({ path }) => path === hook.path).length, 25);
  });
});

/** Resolves once three half-seconds in a row have passed without a query: a stall looks like a quiet one. */
async function untilQuiet({ requests }: Workers): Promise<void> {
  for (let quiet = 0, before = -1; quiet < 3; ) {
    quiet = before === requests() ? quiet + 1 : 0;
    before = requests();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

for (const binding of ['missing', 'throwing'] as const) {
  it(`accepts requests while the dispatcher's binding is ${binding}, and the cron trigger delivers`, async (t) => {
    const workers = await startWorkers({}, { binding });
    t.after(() => workers.close());
    const call = caller(() => workers);
    const hook = await endpoint(call);
    assert.equal((await testHook(call, hook.id)).status, 202);
    assert.equal(await queued(workers), 1);
    await workers.cron();
    await sink.received(hook.path);
    await until(async () => (await queued(workers)) === 0);
    assert.equal(sink.hooks.filter(({ path }) => path === hook.path).length, 1);
  });
}

it('of several dispatchers, one is rung for what was enqueued, and all by the cron trigger', async (t) => {
  const workers = await startWorkers({ DISPATCHERS: '3' });
  t.after(() => workers.close());
  const call = caller(() => workers);
  const names = async () => (await query(workers.database.name, 'select id from dispatchers')).map(({ id }) => id);
  const hook = await endpoint(call);
  // A new endpoint causes no ring: nothing is queued for it.
  assert.deepEqual(await names(), []);
  await testHook(call, hook.id);
  await sink.received(hook.path);
  assert.equal((await names()).length, 1);
  await workers.cron();
  await until(async () => (await names()).length === 3);
});

it('makes up for a run that was killed half-way, once its leases end', async (t) => {
  const times = { DISPATCH_LEASE_MS: '1500', DELIVERY_TIMEOUT_MS: '1400' };
  const workers = await startWorkers(times);
  t.after(() => workers.close());
  const call = caller(() => workers);
  const hook = await endpoint(call);
  sink.reply(hook.path, () => {});
  await testHook(call, hook.id);
  const [first] = await sink.received(hook.path);
  await workers.harness.close();

  sink.reply(hook.path, 204);
  const next = await workersHarness({ ...workers.connection, ...times });
  t.after(() => next.close());
  await next.listen();
  const again = sink.received(hook.path, 2);
  await until(async () => {
    await next.getWorker('keelson-dispatcher').scheduled({ cron: '*/15 * * * *' });
    return (await queued(workers)) === 0;
  });
  const [, second] = await again;
  assert.equal(second?.headers['webhook-id'], first?.headers['webhook-id']);
});
