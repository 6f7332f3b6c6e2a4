// Every statement that locks rows, against all the others, on one small set of rows: none may deadlock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DbError } from '../src/db.ts';
import { extendLeases } from '../src/dispatcher/claims.ts';
import { pruneNotifications, pruneRecords } from '../src/dispatcher/housekeeping.ts';
import { advanceJob } from '../src/dispatcher/jobs.ts';
import type { Settlement } from '../src/dispatcher/settlements.ts';
import { pruneIdempotencyKeys } from '../src/idempotency/reserve-key.ts';
import { changeNotifications } from '../src/notifications/store.ts';
import { newNotice } from './conformance/target.ts';
import { apiOn } from './support/api.ts';
import { chance, ROUNDS, slowDatabase, WORKERS } from './support/deadlocks.ts';
import { inTime } from './support/deps.ts';
import { execute, rowsOf } from './support/notifications.ts';
import { claim, settle as settleHeld } from './support/queue.ts';

const slow = slowDatabase();
const { watched, assertNone } = slow;

/** Runs `work` in WORKERS workers at once, ROUNDS rounds each. Requests refused for other reasons do not matter. */
async function stress(work: (pick: (below: number) => number) => Promise<unknown>): Promise<void> {
  const worker = async (_: unknown, n: number) => {
    const pick = chance(n + 1);
    for (let round = 0; round < ROUNDS; round++) {
      await work(pick).catch((error) => {
        if (!(error instanceof DbError && error.sqlState === '40P01')) throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  assertNone();
}

test('changes of endpoints, deliveries, redrives, cancellations and prunings do not deadlock', async () => {
  const db = slow.db();
  const call = apiOn(watched);
  const body = { url: 'https://example.com/', events: ['*'] };
  const hooks: string[] = [];
  for (let i = 0; i < 3; i++) hooks.push((await call('POST', '/webhook-endpoints', { body })).json.id);
  const notifications = () => rowsOf<{ id: string }>(db, 'select id from notifications order by random() limit 1');
  let settled = 0;
  const settle = async (pick: (below: number) => number) => {
    const { deliveries } = await claim(watched, { limit: 20 });
    const outcomes: Settlement['outcome'][] = ['sent', 'retry', 'dead', 'dead', 'release'];
    const results = deliveries.map(({ id, lease }) => {
      const outcome = outcomes[pick(outcomes.length)] as Settlement['outcome'];
      return { id, lease, outcome, delayMs: pick(20), durationMs: 1, status: outcome === 'sent' ? 200 : 500 };
    });
    results.sort(() => pick(3) - 1);
    const held = deliveries.slice(pick(5));
    // Like a dispatcher: never both at the same time.
    await extendLeases(watched, held, 60_000, inTime());
    settled += (await settleHeld(watched, results, 'd')).settled;
  };
  const pause = (id: string | undefined) =>
    execute(
      db,
      `update webhook_endpoints set status = 'paused', failures = 12, paused_until = now() + interval '5 ms' where id = '${id}'`,
    );
  let pruned = 0;
  let advanced = 0;
  await stress(async (pick) => {
    const hook = hooks[pick(hooks.length)];
    const [some] = await notifications();
    const path = `/webhook-endpoints/${hook}`;
    const key = { key: `k${pick(3)}` };
    const does = [
      () => call('PUT', path, { body }),
      () => call('PUT', path, { body }),
      () => pause(hook),
      () => call('POST', `${path}/${pick(2) ? 'pause' : 'enable'}`),
      async () => {
        const found = await rowsOf<{ id: string }>(db, 'select id from notifications order by random() limit 5');
        const chosen = { ids: found.map(({ id }) => id), sub: 'tester' };
        await changeNotifications(db, pick(2) ? 'redrive' : 'cancel', chosen, inTime()).catch((error) => {
          assert.fail(error);
        });
      },
      () => call('POST', `${path}/test`, key),
      () => call('POST', `${path}/test`),
      () => call('POST', `${path}/rotate-secret`, key),
      () => call('POST', '/notifications', { body: newNotice() }),
      () => settle(pick),
      () => settle(pick),
      () => settle(pick),
      () => call('POST', `/notifications/${some?.id}/redrive`),
      () => call('POST', `/notifications/${some?.id}/redrive`),
      () => call('POST', `/notifications/${some?.id}/cancel`),
      async () => {
        pruned += await pruneNotifications(watched, -1);
      },
      () => call('POST', '/notifications/redrive', { body: { filter: {} } }),
      () => call('POST', '/notifications/cancel', { body: { filter: { channel: 'email' } } }),
      async () => {
        advanced += (await advanceJob(watched, inTime()))?.done ?? 0;
      },
      () => advanceJob(watched, inTime()),
      async () => {
        const [running] = await rowsOf<{ id: string }>(db, `select id from actions where status = 'running' limit 1`);
        await call('POST', `/actions/${running?.id}/stop`);
      },
      () => pruneRecords(watched, 0, inTime()),
      () => pruneIdempotencyKeys(watched, 10, inTime()),
      async () => {
        await call('DELETE', path);
        hooks[hooks.indexOf(hook as string)] = (await call('POST', '/webhook-endpoints', { body })).json.id;
      },
    ];
    await does[pick(does.length)]?.();
  });
  assert.ok(settled > 0 && pruned > 0 && advanced > 0, `${settled} settled, ${pruned} pruned, ${advanced} advanced`);
  const [lost] = await rowsOf<{ count: number }>(
    db,
    `select count(*)::int as count from notifications n
     where (exists (select from deliveries d where d.notification_id = n.id))
         = (exists (select from outcomes o where o.notification_id = n.id))`,
  );
  assert.equal(lost?.count, 0, 'each is queued, or has ended');
});
