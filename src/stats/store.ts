import { type SQL, sql } from 'drizzle-orm';
import { type Db, oneRow, rfc3339, statement } from '../db.ts';
import { deliveries, EMAIL_LANE, isPaused, laneOf, outcomes, webhookEndpoints } from '../outbox/schema.ts';
import { deliveryStats, dispatchers, middleOf, type Stats } from './schema.ts';

/** How many finished notifications and endpoints are counted, and how many pending ones; more are estimated. */
const MAX_COUNTED = 1000;
const MAX_PENDING_COUNTED = 100_000;
/** How many lanes may be asked for their oldest delivery, at a few microseconds each. */
const MAX_LANES_VISITED = 1000;

/** The number of rows that `rows` selects, up to one more than `most`. */
const countUpTo = (most: number, rows: SQL) =>
  sql`(select count(*) from (select ${rows} limit ${sql.raw(String(most + 1))}) found)`;
/** The planner's estimate of a table's rows. */
const estimated = (table: string) =>
  sql`(select greatest(0, reltuples)::float8 from pg_class where oid = ${sql.raw(`'${table}'`)}::regclass)`;
/** The share of outcomes with this status, from the planner's statistics. */
const shareOf = (status: string) => sql`coalesce(sum(share) filter (where value = ${sql.raw(`'${status}'`)}), 0)`;
/** A count as the API shows it. If counting stopped at its limit, it is a lower bound, and an estimate is shown. */
const shown = (count: SQL, isCut: SQL, estimate: SQL) => sql`json_build_object(
    'count', greatest(0, ${count}, case when ${isCut} then round((${estimate})::numeric) end),
    'estimated', ${isCut}
  )`;
const isCut = (count: SQL) => sql`${count} > ${sql.raw(String(MAX_COUNTED))}`;

const laneOfD = laneOf(sql`d`);
const minute = sql`date_trunc('minute', now())`;
const share = (part: number) => sql`(
    select round(${middleOf(sql`min(bucket)`)}::numeric, 1) from sent where upto >= ${sql.raw(String(part))} * total
  )`;

// Its cost does not depend on the number of finished notifications or of endpoints: it reads an hour of statistics,
// counts up to a limit, and reads the first row of each lane that it may visit, and of the last lane, email. An
// endpoint whose pause has ended keeps the status `paused` until its next delivery: it is read, within the limit, but
// not counted as paused.
const stats = statement<Record<never, never>, Stats>(
  'stats.read',
  () => sql`
    with recursive lanes as (
      (select 1 as look, ${laneOfD} as lane, d.due_at from ${deliveries} d order by ${laneOfD}, d.due_at limit 1)
      union all
      select lanes.look + 1, next.lane, next.due_at from lanes cross join lateral (
        select ${laneOfD} as lane, d.due_at from ${deliveries} d where ${laneOfD} > lanes.lane
        order by ${laneOfD}, d.due_at limit 1
      ) next where lanes.look < ${sql.raw(String(MAX_LANES_VISITED))}
    ), hour as materialized (
      select minute, outcome, bucket, count, firsts, wait_ms, run_ms from ${deliveryStats}
      where minute > ${minute} - interval '60 minutes'
    ), sent as materialized (
      select bucket, sum(count) over (order by bucket) as upto, sum(count) over () as total
      from (select bucket, sum(count) as count from hour where outcome = 'sent' group by bucket) buckets
    ), pauses as materialized (
      select ${isPaused(sql`e`)} as paused from ${webhookEndpoints} e where e.status = 'paused'
      limit ${sql.raw(String(MAX_COUNTED + 1))}
    ), n as materialized (
      select ${countUpTo(MAX_PENDING_COUNTED, sql`from ${deliveries}`)} as pending,
             ${countUpTo(MAX_COUNTED, sql`from ${outcomes}`)} as finished,
             ${countUpTo(MAX_COUNTED, sql`from ${outcomes} where status = 'dead' order by notification_id`)} as dead,
             ${countUpTo(MAX_COUNTED, sql`from ${outcomes} where status = 'canceled' order by notification_id`)} as canceled,
             ${countUpTo(MAX_COUNTED, sql`from ${webhookEndpoints}`)} as endpoints,
             (select count(*) from pauses) as pauses, (select count(*) from pauses where paused) as paused,
             ${countUpTo(MAX_COUNTED, sql`from ${webhookEndpoints} where status = 'disabled'`)} as disabled,
             ${estimated('outcomes')} as outcomes, ${shareOf('sent')} as sent_share, ${shareOf('dead')} as dead_share,
             ${shareOf('canceled')} as canceled_share
      from (
        select unnest(most_common_vals::text::text[]) as value, unnest(most_common_freqs) as share from pg_stats
        where schemaname = current_schema() and tablename = 'outcomes' and attname = 'status'
      ) common
    )
    select
      (
        select json_agg(json_build_object('at', ${rfc3339(sql`at`)}, 'sent', sent, 'retry', retry, 'dead', dead) order by at)
        from (
          select at, coalesce(sum(count) filter (where outcome = 'sent'), 0) as sent,
                 coalesce(sum(count) filter (where outcome = 'retry'), 0) as retry,
                 coalesce(sum(count) filter (where outcome = 'dead'), 0) as dead
          from generate_series(${minute} - interval '59 minutes', ${minute}, interval '1 minute') at
          left join hour on hour.minute = at group by at
        ) each
      ) as minutes,
      json_build_object('p50', ${share(0.5)}, 'p99', ${share(0.99)}) as "latencyMs",
      (select round(sum(wait_ms) / nullif(sum(firsts), 0), 1) from hour)::float8 as "waitMs",
      (select round(sum(run_ms) / nullif(sum(count), 0), 1) from hour)::float8 as "runMs",
      json_build_object(
        'pending', ${shown(sql`n.pending`, sql`n.pending > ${sql.raw(String(MAX_PENDING_COUNTED))}`, estimated('deliveries'))},
        'sent', ${shown(sql`n.finished - n.dead - n.canceled`, isCut(sql`n.finished`), sql`n.outcomes * n.sent_share`)},
        'dead', ${shown(sql`n.dead`, isCut(sql`n.dead`), sql`n.outcomes * n.dead_share`)},
        'canceled', ${shown(sql`n.canceled`, isCut(sql`n.canceled`), sql`n.outcomes * n.canceled_share`)}
      ) as depth,
      (select round(extract(epoch from now() - min(due_at)), 3) from (
        select lane, due_at from lanes
        union all (
          select ${laneOfD}, d.due_at from ${deliveries} d where ${laneOfD} = ${EMAIL_LANE} order by d.due_at limit 1
        )
      ) lanes where due_at <= now() and not exists (
        select from ${webhookEndpoints} e where e.id = lanes.lane and ${isPaused(sql`e`)}
      ))::float8 as "oldestDueS",
      json_build_object(
        'enabled', ${shown(
          sql`n.endpoints - n.paused - n.disabled`,
          isCut(sql`n.endpoints`),
          sql`${estimated('webhook_endpoints')} - n.paused - n.disabled`,
        )},
        'paused', ${shown(sql`n.paused`, isCut(sql`n.pauses`), sql`n.paused`)},
        'disabled', ${shown(sql`n.disabled`, isCut(sql`n.disabled`), sql`n.disabled`)}
      ) as endpoints,
      coalesce((
        select json_agg(json_build_object('id', id, 'lastSeen', ${rfc3339(sql`last_seen`)}, 'alive', alive)
                        order by last_seen desc)
        from (
          select id, last_seen,
                 last_seen > now() - 2 * every_ms * interval '1 millisecond' - interval '20 seconds' as alive
          from ${dispatchers} where last_seen > now() - interval '1 hour' order by last_seen desc limit 100
        ) seen
      ), '[]') as dispatchers
    from n`,
);

/** Returns delivery statistics, at a cost that does not grow with finished notifications. */
export const readStats = (db: Db, signal: AbortSignal): Promise<Stats> => oneRow(db, stats, {}, signal);
