import { type SQL, sql } from 'drizzle-orm';
import { actions } from '../actions/schema.ts';
import { type Db, statement } from '../db.ts';
import type { Log } from '../deps.ts';
import { pruneIdempotencyKeys } from '../idempotency/reserve-key.ts';
import { attempts, messages, notifications, outcomes } from '../outbox/schema.ts';
import { deliveryStats, dispatchers } from '../stats/schema.ts';
import { BEFORE_ALL } from '../table-store.ts';

/** How many idempotency keys one statement may delete. */
const KEYS_BATCH = 1000;

/** Milliseconds that a statement of housekeeping may take. */
const STATEMENT_MS = 5000;

type PruneDeps = { db: Db; log: Log };

/** Prunes repeatedly, with `ms` between runs. Returns a function that stops it and awaits the statement under way. */
export function pruneEvery(ms: number, deps: PruneDeps, retentionDays: number): () => Promise<void> {
  const controller = new AbortController();
  let timer = setTimeout(again, ms);
  let inFlight: Promise<void> | undefined;
  function again(): void {
    inFlight = prune(deps, retentionDays, { stop: controller.signal }).then(() => {
      if (!controller.signal.aborted) timer = setTimeout(again, ms);
    });
  }
  return async () => {
    controller.abort();
    clearTimeout(timer);
    await inFlight;
  };
}

/**
 * Deletes what is past its retention: notifications finished `retentionDays` ago, actions of that age, idempotency keys
 * after a day, statistics after 25 hours. Uses at most `statements` statements, and leaves the rest to the next run.
 */
export async function prune(
  { db, log }: PruneDeps,
  retentionDays: number,
  { stop, statements = Number.POSITIVE_INFINITY }: { stop?: AbortSignal; statements?: number } = {},
): Promise<void> {
  const limit = () =>
    stop ? AbortSignal.any([stop, AbortSignal.timeout(STATEMENT_MS)]) : AbortSignal.timeout(STATEMENT_MS);
  let left = statements;
  const takeStatement = () => left-- > 0;
  try {
    let keys = 0;
    for (let some = KEYS_BATCH; some === KEYS_BATCH && takeStatement(); keys += some) {
      some = await pruneIdempotencyKeys(db, KEYS_BATCH, limit());
    }
    let actions = 0;
    for (let some = PRUNE_BATCH; some === PRUNE_BATCH && takeStatement(); actions += some) {
      some = await pruneRecords(db, retentionDays, limit());
    }
    // Last, because it may need the most.
    const notifications = await pruneNotifications(db, retentionDays, limit, takeStatement);
    if (notifications + keys + actions > 0) log.info('pruned', { notifications, keys, actions });
  } catch (error) {
    // The next run, or the next process, deletes the rest.
    if (!stop?.aborted) log.error('pruning failed', { error });
  }
}

/** How many notifications one statement looks at; more only if a single message has more, which is deleted whole. */
const PRUNE_BATCH = 1000;
const BATCH = sql.raw(String(PRUNE_BATCH));

/** The first id at `time`. Before 1970, it is the lowest of all. */
const idAt = (time: SQL) =>
  sql`(lpad(to_hex(greatest(0, extract(epoch from ${time}) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid`;

// Ids are ordered by time, and each batch starts after the previous one, so that a row that must stay is read once. A
// message that may be only partly in the batch is left to the next. Concurrent pruning is safe: only one process locks
// a message, and an outcome being redriven is locked or gone, so that its message stays. Nothing waits for a lock.
// LIMIT and OFFSET in subqueries force one look-up for each message; otherwise the planner may join whole tables.
const pruneMessages = statement<
  { days: number; after: string },
  { pruned: number; last: string | null; more: boolean }
>('messages.prune', ($) => {
  const cutoff = sql`now() - ${$.days}::int * interval '1 day'`;
  const ids = (cte: SQL) => sql`any(array(select id from ${cte}))`;
  return sql`
      with looked_at as materialized (
        select m.id, n.id as notification_id from (
          select id from ${messages}
          where id > ${$.after}::uuid and id < ${idAt(cutoff)}
          order by id limit ${BATCH}
        ) m left join lateral (
          select n.id from ${notifications} n where n.message_id = m.id limit ${BATCH}
        ) n on true
        order by m.id limit ${BATCH}
      ), bounds as materialized (
        select min(id::text)::uuid as first, max(id::text)::uuid as last, count(*) = ${BATCH} as more from looked_at
      ), batch as materialized (
        select distinct id from looked_at, bounds where not more or id < last or first = last
      ), ended as materialized (
        select id from batch where not exists (
          select from ${notifications} n left join ${outcomes} o on o.notification_id = n.id
          where n.message_id = batch.id and (o.finished_at < ${cutoff}) is not true offset 0
        )
      ), held as materialized (
        select id from ${messages} where id = ${ids(sql`ended`)} order by id for update skip locked
      ), told as materialized (
        select id, message_id from ${notifications} where message_id = ${ids(sql`held`)}
      ), free as materialized (
        select notification_id as id from ${outcomes}
        where notification_id = ${ids(sql`told`)} and finished_at < ${cutoff}
        order by notification_id for update skip locked
      ), whole as materialized (
        select id from held where id not in (select message_id from told where id not in (select id from free))
      ), gone as materialized (
        select id from told where message_id in (select id from whole)
      ), gone_attempts as (
        delete from ${attempts} where notification_id = ${ids(sql`gone`)}
      ), gone_outcomes as (
        delete from ${outcomes} where notification_id = ${ids(sql`gone`)}
      ), gone_notifications as (
        delete from ${notifications} where id = ${ids(sql`gone`)}
      ), gone_messages as (
        delete from ${messages} where id = ${ids(sql`whole`)}
      )
      select (select count(*) from gone)::int as pruned, (select max(id::text) from batch) as last, more from bounds`;
});

/**
 * Deletes messages with all that belongs to them, once all their notifications were finished more than `days` days ago.
 * Runs batch by batch while `takeStatement()`, each with its own `limit()`. Returns the number deleted.
 */
export async function pruneNotifications(
  db: Db,
  days: number,
  limit = () => AbortSignal.timeout(STATEMENT_MS),
  takeStatement = () => true,
): Promise<number> {
  let all = 0;
  for (let after: string | null = BEFORE_ALL; after !== null && takeStatement(); ) {
    const [row]: { pruned: number; last: string | null; more: boolean }[] = await db.run(
      pruneMessages,
      { days, after },
      limit(),
    );
    all += row?.pruned ?? 0;
    after = row?.more ? row.last : null;
  }
  return all;
}

// Skips what another process deletes at the same time.
const pruneRecorded = statement<{ days: number }, { pruned: number }>('records.prune', ($) => {
  const cutoff = sql`now() - interval '25 hours'`;
  return sql`
    with gone_actions as (
      delete from ${actions} where id = any(array(
        select id from ${actions} where id < ${idAt(sql`now() - ${$.days}::int * interval '1 day'`)} and status <> 'running'
        order by id limit ${BATCH} for update skip locked
      )) returning id
    ), gone_stats as (
      delete from ${deliveryStats} where ctid = any(array(
        select ctid from ${deliveryStats} where minute < ${cutoff} for update skip locked
      ))
    ), gone_dispatchers as (
      delete from ${dispatchers} where ctid = any(array(
        select ctid from ${dispatchers} where last_seen < ${cutoff} for update skip locked
      ))
    )
    select count(*)::int as pruned from gone_actions`;
});

/** Deletes old statistics, and a batch of actions more than `days` days old. Returns the number of actions deleted. */
export async function pruneRecords(db: Db, days: number, signal: AbortSignal): Promise<number> {
  const [row] = await db.run(pruneRecorded, { days }, signal);
  return row?.pruned ?? 0;
}
