import { sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import type { Log } from '../deps.ts';
import { pruneIdempotencyKeys } from '../idempotency/reserve-key.ts';
import { attempts, messages, notifications, outcomes } from '../outbox/schema.ts';

/** Idempotency keys that one statement deletes at most. */
const KEYS_BATCH = 1000;

/** How long housekeeping waits for a statement, in milliseconds. */
const STATEMENT_MS = 5000;

/** Deletes what is kept no longer: notifications finished for `retentionDays`, idempotency keys after a day. */
export async function tidy({ db, log }: { db: Db; log: Log }, retentionDays: number): Promise<void> {
  try {
    let keys = 0;
    for (let some = KEYS_BATCH; some === KEYS_BATCH; keys += some) {
      some = await pruneIdempotencyKeys(db, KEYS_BATCH, AbortSignal.timeout(STATEMENT_MS));
    }
    const notifications = await pruneNotifications(db, retentionDays);
    if (notifications + keys > 0) log.info('tidied', { notifications, keys });
  } catch (error) {
    log.error('cannot tidy', { error });
  }
}

/** Rows that one pruning statement takes at most, so that it never holds anyone up. */
const PRUNE_BATCH = 1000;

// Ids are in order of time, so that the oldest are the first of the primary key. Outcomes are locked, or one that is
// redriven this very moment would lose its notification. A message goes with its last
// notification.
const prune = statement<{ days: number; limit: number }, { pruned: number }>(
  'deliveries.prune',
  ($) => sql`
    with old as materialized (
      select o.notification_id, n.message_id
      from ${outcomes} o join ${notifications} n on n.id = o.notification_id
      where o.notification_id < (lpad(to_hex((extract(epoch from now() - ${$.days}::int * interval '1 day') * 1000)
              ::bigint), 12, '0') || '00000000000000000000')::uuid
        and o.finished_at < now() - ${$.days}::int * interval '1 day'
        and n.created_at < now() - ${$.days}::int * interval '1 day'
      order by o.notification_id limit ${$.limit}::int
      for update of o skip locked
    ), gone_outcomes as (
      delete from ${outcomes} where notification_id in (select notification_id from old)
    ), gone_attempts as (
      delete from ${attempts} where notification_id in (select notification_id from old)
    ), gone_notifications as (
      delete from ${notifications} where id in (select notification_id from old)
    ), gone_messages as (
      delete from ${messages} m where id in (select message_id from old) and not exists (
        select from ${notifications} n where n.message_id = m.id and n.id not in (select notification_id from old)
      )
    )
    select count(*)::int as pruned from old`,
);

/** Deletes finished notifications older than `days`, batch by batch, and returns how many. */
export async function pruneNotifications(db: Db, days: number): Promise<number> {
  for (let all = 0; ; ) {
    const [row] = await db.run(prune, { days, limit: PRUNE_BATCH }, AbortSignal.timeout(STATEMENT_MS));
    all += row?.pruned ?? 0;
    if ((row?.pruned ?? 0) < PRUNE_BATCH) return all;
  }
}
