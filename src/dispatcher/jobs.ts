import { sql } from 'drizzle-orm';
import { actions } from '../actions/schema.ts';
import { type Db, statement } from '../db.ts';
import { filtersIn, matches } from '../notifications/filters.ts';
import { attempts, deliveries, messages, notifications, outcomes } from '../outbox/schema.ts';

/** What a batch did: how many notifications it changed, and whether the action is finished. */
export type Advance = { done: number; finished: boolean };

/** How many notifications a batch looks at. */
const BATCH = sql.raw('1000');

// A batch is atomic: its changes, their number and the action's cursor commit together, so that if a dispatcher is
// killed, the next one continues from there. The action is locked meanwhile; other dispatchers take the next one.
// `looked_at` walks the candidates in order of id, whatever the filter. Nothing waits for a lock: a row that another
// statement has locked, such as a claim that only looks at it, is `missed`, and the next batch starts with it.
// Notifications created or redriven since the action began do not match, nor those whose last attempt ended since then.
// One that ended before, and was settled after, matches: `done` may exceed `matching`.
const advance = statement<Record<never, never>, Advance>('actions.advance', () => {
  const job = sql`job.action = 'notifications.redrive'`;
  const filter = filtersIn(sql`job.filter`);
  return sql`
    with job as materialized (
      select id, action, filter, cursor, created_at from ${actions} where status = 'running'
      order by id limit 1 for update skip locked
    ), looked_at as materialized (
      select o.notification_id as id, o.finished_at <= job.created_at as open from job cross join lateral (
        select notification_id, finished_at from ${outcomes}
        where ${job} and status = 'dead' and notification_id > job.cursor order by notification_id limit ${BATCH}
      ) o
      union all
      select d.notification_id, d.open and d.queued_at <= job.created_at from job cross join lateral (
        select notification_id, date_trunc('milliseconds', queued_at) as queued_at,
               lease is null or due_at <= now() as open
        from ${deliveries}
        where not ${job} and notification_id > job.cursor order by notification_id limit ${BATCH}
      ) d
    ), chosen as materialized (
      select n.id, n.endpoint_id, n.message_id
      from job, looked_at cross join lateral (select * from ${notifications} where id = looked_at.id limit 1) n
      where looked_at.open and n.created_at <= job.created_at and ${matches(filter)}
    ), dead as materialized (
      select notification_id as id from ${outcomes}
      where notification_id = any(array(select id from chosen)) and status = 'dead'
      order by notification_id for update skip locked
    ), revived as (
      delete from ${outcomes} where notification_id = any(array(select id from dead)) returning *
    ), kept as (
      insert into ${attempts} (notification_id, at, duration_ms, status, error, dispatcher)
      select notification_id, finished_at - duration_ms * interval '1 millisecond', duration_ms, http_status,
             last_error, dispatcher
      from revived where duration_ms is not null
    ), queued as (
      insert into ${deliveries} (notification_id, endpoint_id, message_id, due_at, bytes)
      select chosen.id, chosen.endpoint_id, chosen.message_id, now(), m.bytes from dead join chosen on chosen.id = dead.id
      cross join lateral (
        select octet_length(body) as bytes from ${messages} where id = chosen.message_id limit 1
      ) m
    ), waiting as materialized (
      select notification_id as id from ${deliveries}
      where notification_id = any(array(select id from chosen)) and (lease is null or due_at <= now())
      order by notification_id for update skip locked
    ), dropped as (
      delete from ${deliveries} where notification_id = any(array(select id from waiting))
      returning notification_id, attempt
    ), canceled as (
      insert into ${outcomes} (notification_id, status, attempts, last_error, finished_at)
      select notification_id, 'canceled', attempt, (
        select error from ${attempts} a where a.notification_id = dropped.notification_id order by a.at desc limit 1
      ), now() from dropped
    ), counted as (
      select (select count(*) from revived) + (select count(*) from dropped) as done,
             (select count(*) from looked_at) < ${BATCH} and missed.first is null as finished,
             (select max(id::text)::uuid from looked_at where missed.first is null or id < missed.first) as cursor
      from (
        select min(id::text)::uuid as first from chosen
        where id not in (select id from dead union all select id from waiting)
      ) missed
    ), advanced as (
      update ${actions} a
      set done = a.done + counted.done, cursor = coalesce(counted.cursor, a.cursor),
          status = case when counted.finished then 'finished' else a.status end,
          finished_at = case when counted.finished then now() end
      from job, counted where a.id = job.id
    )
    select counted.done::int as done, counted.finished from job, counted`;
});

/** Does the next batch of the oldest running action that is not locked. Undefined if there is none. */
export async function advanceJob(db: Db, signal: AbortSignal): Promise<Advance | undefined> {
  const [row] = await db.run(advance, {}, signal);
  return row;
}
