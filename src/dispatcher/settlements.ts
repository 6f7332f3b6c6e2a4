import { sql } from 'drizzle-orm';
import { type Db, oneRow, statement } from '../db.ts';
import { attempts, deliveries, outcomes, webhookEndpoints } from '../outbox/schema.ts';
import { bucketOf, deliveryStats } from '../stats/schema.ts';
import { isHeld } from './claims.ts';

/**
 * The result of a held delivery. `retry` and `interrupted` are due again after `delayMs`, `release` at once.
 * `interrupted` was under way when a shutdown could wait no longer, `release` never started: neither uses up an attempt.
 * A `blameless` failure does not count against the endpoint.
 */
export type Settlement = {
  id: string;
  lease: string;
  outcome: 'sent' | 'retry' | 'dead' | 'interrupted' | 'release';
  delayMs?: number;
  durationMs?: number;
  status?: number | null;
  error?: string | null;
  blameless?: true;
  /** The URL that was called: a failure does not count against an endpoint that has another URL by now. */
  url?: string | undefined;
  /** When it ended, in milliseconds of the dispatcher's clock. */
  endedAt?: number;
};

/** An endpoint whose state a settlement changed, or that it paused again. */
type EndpointChange = { id: string; status: 'enabled' | 'paused' | 'disabled' };

/** How many of a batch were still held, and which endpoints changed state. */
export type Settled = { settled: number; changes: EndpointChange[] };

/** The settling dispatcher, and the time by its clock, in milliseconds. */
type Settler = { dispatcher: string; now: number };

/** Failures in a row after which an endpoint is paused, and days of them after which it is disabled. */
const PAUSE_AFTER = 10;
const DISABLE_AFTER_DAYS = 5;
/** Days without a failure after which a run of failures ends. */
const RUN_ENDS_AFTER_DAYS = 2;

// Locks endpoints in order of id, and only those whose health changes. A failure counts if it came from the endpoint's
// URL, which is compared again under the lock: it may have changed since the statement began. An endpoint paused on
// request, until infinity, stays so unless it responds 410. A pause starts at 30 s and doubles with every round of
// failures, up to an hour: `last_failed_at` is when it began. A delivery that was under way then and fails later does
// not prolong it. A new status is a new version.
const HEALTH = sql`health as (
  select endpoint_id, bool_or(outcome = 'sent') as ok, bool_or(coalesce(status = 410, false)) as unwanted,
         count(*) filter (where outcome <> 'sent') as failed, max(url) as url
  from settled
  where endpoint_id is not null and outcome in ('sent', 'retry', 'dead') and blameless is not true
    and (url is null or not exists (select from ${webhookEndpoints} e where e.id = endpoint_id and e.url <> settled.url))
  group by endpoint_id
), touched as materialized (
  select e.id, e.status, h.ok, h.unwanted,
         case when h.ok then 0 when run.goes_on then e.failures + h.failed else h.failed end as failures,
         case when h.ok then null when run.goes_on then coalesce(e.failing_since, now()) else now() end
           as failing_since,
         coalesce(e.paused_until > now(), false) as pausing,
         greatest(interval '30 seconds',
                  case when run.goes_on then 2 * (nullif(e.paused_until, 'infinity') - e.last_failed_at) end)
           as pause
  from ${webhookEndpoints} e join health h on h.endpoint_id = e.id
  cross join lateral (
    select e.last_failed_at > now() - interval '${sql.raw(String(RUN_ENDS_AFTER_DAYS))} days' as goes_on
  ) run
  where e.status <> 'disabled' and (e.paused_until is distinct from 'infinity' or h.unwanted)
    and (h.failed > 0 or e.failures > 0) and (h.url is null or e.url = h.url)
  order by e.id for update of e
), judged as (
  select *, case
      when unwanted then 'disabled'
      when failures < ${sql.raw(String(PAUSE_AFTER))} then 'enabled'
      when failing_since <= now() - interval '${sql.raw(String(DISABLE_AFTER_DAYS))} days' then 'disabled'
      else 'paused'
    end as verdict
  from touched
), marked as (
  update ${webhookEndpoints} e
  set status = j.verdict, failures = j.failures, failing_since = j.failing_since,
      last_failed_at = case when j.failing_since is null then null when j.pausing then e.last_failed_at else now() end,
      paused_until = case when j.verdict <> 'paused' then null when j.pausing then e.paused_until
                          else now() + least(interval '1 hour', j.pause) end,
      version = e.version + (j.verdict <> e.status)::int,
      updated_at = case when j.verdict <> e.status then now() else e.updated_at end
  from judged j where e.id = j.id
)`;

// Checks the lease token of every row: a row that another dispatcher has claimed since stays unchanged, including
// its attempts. Statistics count exactly the results that took effect.
const settle = statement<{ results: string } & Settler, Settled>(
  'deliveries.settle2',
  ($) => sql`
    with r as materialized (
      select *, now() - coalesce(${$.now}::float8 - "endedAt", 0) * interval '1 millisecond' as ended_at
      from json_to_recordset((${$.results}::text)::json)
        as r (id uuid, lease uuid, outcome text, "delayMs" float8, "durationMs" int, status int, error text,
              blameless boolean, url text, "endedAt" float8)
    ), gone as (
      delete from ${deliveries} d using r
      where ${isHeld(sql`d`)} and r.outcome in ('sent', 'dead')
      returning r.*, d.endpoint_id, d.attempt, d.queued_at
    ), kept as (
      update ${deliveries} d
      set due_at = now() + coalesce(r."delayMs", 0) * interval '1 millisecond', lease = null,
          attempt = d.attempt - case when r.outcome in ('interrupted', 'release') then 1 else 0 end
      from r where ${isHeld(sql`d`)} and r.outcome in ('retry', 'interrupted', 'release')
      returning r.*, d.endpoint_id, d.attempt, d.queued_at
    ), settled as (
      select * from gone union all select * from kept
    ), logged as (
      insert into ${attempts} (notification_id, at, duration_ms, status, error, dispatcher)
      select id, ended_at - "durationMs" * interval '1 millisecond', "durationMs", status, error, ${$.dispatcher}::text
      from kept where outcome in ('retry', 'interrupted')
    ), finished as (
      insert into ${outcomes}
        (notification_id, status, attempts, last_error, finished_at, duration_ms, http_status, dispatcher)
      select id, outcome, attempt, error, ended_at, "durationMs", status, ${$.dispatcher}::text
      from gone
    ), counted as (
      insert into ${deliveryStats} (minute, dispatcher, outcome, bucket, count, firsts, wait_ms, run_ms)
      select date_trunc('minute', now()), ${$.dispatcher}::text, outcome, bucket, count(*),
             count(*) filter (where first),
             coalesce(sum(greatest(0, "sinceMs" - "durationMs")) filter (where first), 0), sum("durationMs")
      from (
        select case outcome when 'interrupted' then 'retry' else outcome end as outcome,
               attempt = 1 and outcome <> 'interrupted' as first,
               coalesce("durationMs", 0) as "durationMs", "sinceMs",
               case outcome when 'sent' then ${bucketOf(sql`"sinceMs"`)} else 0 end as bucket
        from settled cross join lateral (
          select date_part('epoch', ended_at - queued_at) * 1000 as "sinceMs"
        ) since
        where outcome <> 'release'
      ) told
      group by outcome, bucket order by outcome, bucket
      on conflict (minute, dispatcher, outcome, bucket) do update set
        count = ${deliveryStats}.count + excluded.count, firsts = ${deliveryStats}.firsts + excluded.firsts,
        wait_ms = ${deliveryStats}.wait_ms + excluded.wait_ms, run_ms = ${deliveryStats}.run_ms + excluded.run_ms
    ), ${HEALTH}
    select (select count(*) from settled)::int as settled, coalesce((
      select json_agg(json_build_object('id', id, 'status', verdict)) from judged
      where verdict <> status or (verdict = 'paused' and not pausing)
    ), '[]') as changes`,
);

/** Settles a batch in one statement. `settled` is the number of those that were still held. */
export function settleDeliveries(
  db: Db,
  results: Settlement[],
  settler: Settler,
  signal: AbortSignal,
): Promise<Settled> {
  return oneRow(db, settle, { results: JSON.stringify(results), ...settler }, signal);
}
