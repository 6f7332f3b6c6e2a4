// Bulk actions as processes carry them out: if one is killed, the next one continues.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { caller, newEndpoint } from '../conformance/target.ts';
import { ownDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';

const DEAD = 100_000;
const KILLED_AFTER = 30_000;

/** Creates `DEAD` notifications to a paused endpoint, so that nothing is delivered meanwhile. */
const DIE = `
  with e as (
    update webhook_endpoints set status = 'paused', paused_until = 'infinity' returning id
  ), m as (
    insert into messages values (uuid_v7(), 'order.sent', '{}', now()) returning id
  ), n as (
    insert into notifications (id, message_id, channel, endpoint_id, created_at)
    select uuid_v7(), m.id, 'webhook', e.id, now() from m, e, generate_series(1, ${DEAD}) returning id
  )
  insert into outcomes select id, 'dead', 10, 'HTTP 500', now(), 1, 500, 'before' from n`;

test('a redrive of all whose process is killed goes on in another: each once, and the count is exact', async (t) => {
  const database = await ownDatabase(t);
  const env = {
    DATABASE_URL: database.url,
    SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
    DISPATCH_INTERVAL_MS: '1000',
    RATE_LIMIT_MAX: '1000000',
  };
  const front = await startService({ ...env, DISPATCH_ENABLED: 'false' });
  t.after(() => front.stop());
  const call = caller(() => front);
  assert.equal((await call('POST', '/api/v1/webhook-endpoints', { body: newEndpoint() })).status, 201);
  await query(database.name, DIE);
  const asked = await call('POST', '/api/v1/notifications/redrive', { body: { filter: { status: 'dead' } } });
  assert.equal(asked.json.matching, DEAD, asked.text);
  const path = asked.headers.get('location') as string;
  const untilDone = async (count: number) => {
    for (const end = performance.now() + 60_000; performance.now() < end; await pass(10)) {
      const { json } = await call('GET', path);
      if (json.done >= count) return json;
    }
    return assert.fail(`${count} were not done in time`);
  };

  const first = await startService(env);
  t.after(() => first.stop('SIGKILL'));
  await untilDone(KILLED_AFTER);
  await first.stop('SIGKILL');
  assert.equal((await call('GET', path)).json.status, 'running');
  // A batch in progress at the kill may still commit, so all counts are read at once.
  const counts = async () => {
    const [row] = await query(
      database.name,
      `select (select done from actions where action = 'notifications.redrive') as done,
              (select count(*) from deliveries)::int as queued, (select count(*) from outcomes)::int as dead,
              (select count(*) from attempts)::int as kept,
              (select count(distinct notification_id) from attempts)::int as distinct`,
    );
    return row;
  };
  const killed = await counts();
  const { done } = killed as { done: number };
  t.diagnostic(`killed after ${done}`);
  assert.deepEqual(killed, { done, queued: done, dead: DEAD - done, kept: done, distinct: done });

  const others = await Promise.all([startService(env), startService(env)]);
  t.after(() => Promise.all(others.map((service) => service.stop())));
  assert.equal((await untilDone(DEAD)).done, DEAD);
  for (const end = performance.now() + 10_000; (await call('GET', path)).json.status !== 'finished'; await pass(10)) {
    assert.ok(performance.now() < end, 'it is finished');
  }
  assert.deepEqual(await counts(), { done: DEAD, queued: DEAD, dead: 0, kept: DEAD, distinct: DEAD });
  const { dispatchers } = (await call('GET', '/api/v1/stats')).json;
  assert.ok(dispatchers.filter(({ alive }: { alive: boolean }) => alive).length >= 2);
});
