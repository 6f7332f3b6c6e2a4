import { type SQL, sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { webhookEndpoints } from '../webhook-endpoints/schema.ts';
import { attempts, deliveries, messages, notifications, outcomes } from './schema.ts';

/** A notification that this dispatcher holds until its lease runs out. */
export type Delivery = {
  id: string;
  lease: string;
  attempt: number;
  type: string;
  body: string;
  channel: 'webhook' | 'email';
  recipient: string | null;
  endpointId: string | null;
  /** Null for an email, and once the endpoint is deleted. */
  endpoint: Endpoint | null;
};

/** Where a webhook goes. Secrets are sealed; the previous one is null once it expired. */
type Endpoint = {
  url: string;
  status: 'enabled' | 'paused' | 'disabled';
  secret: string;
  previousSecret: string | null;
};

type Claim = { limit: number; cap: number; leaseMs: number; lease: string; full: string; free: string };
type Claimed = { more: boolean; nextMs: number | null; endpoints: Record<string, Endpoint> | null };
type ClaimRow = ({ claim: null } & Omit<Delivery, 'lease' | 'endpoint'>) | { claim: Claimed };

// The locked rows are MATERIALIZED, or the planner may lock more than the limit. Rows of a paused endpoint are put
// off to the end of its pause as they come up, so that the claim's scan never has to pass over them again. The first
// row tells of the claim as a whole: what many deliveries share is sent once. When the next is due is asked only where
// the claim looked at all there was, for that search has to pass over everything that is leased, and it does not see
// what this very statement puts off.
const claim = statement<Claim, ClaimRow>(
  'deliveries.claim',
  ($) => sql`
    with given as materialized (
      select (${$.full}::text)::uuid[] as "full", (${$.free}::text)::jsonb as free
    ), due as materialized (
      select ctid as row, endpoint_id, due_at from ${deliveries}
      where due_at <= now() and not coalesce(endpoint_id = any ((select "full" from given)::uuid[]), false)
      order by due_at limit ${$.limit}::int
      for update skip locked
    ), ranked as (
      select due.row, e.paused_until,
             due.endpoint_id is null
               or coalesce(((select free from given) ->> due.endpoint_id::text)::int, ${$.cap}::int)
                 >= row_number() over (partition by due.endpoint_id order by due.due_at) as fits
      from due
      left join ${webhookEndpoints} e on e.id = due.endpoint_id and e.status = 'paused' and e.paused_until > now()
    ), claimed as (
      update ${deliveries}
      set due_at = now() + ${$.leaseMs}::int * interval '1 millisecond', lease = ${$.lease}::uuid, attempt = attempt + 1
      where ctid = any(array(select row from ranked where fits and paused_until is null))
      returning notification_id, attempt, endpoint_id
    ), postponed as (
      update ${deliveries} d set due_at = e.paused_until, lease = null
      from ${webhookEndpoints} e
      where d.ctid = any(array(select row from ranked where paused_until is not null)) and e.id = d.endpoint_id
    )
    select json_build_object(
             'more', (select count(*) from due) = ${$.limit}::int
               or exists (select from ranked where not fits and paused_until is null),
             'nextMs', case when (select count(*) from due) < ${$.limit}::int then least(
               (select extract(epoch from min(due_at) - now()) * 1000 from ${deliveries}
                 where due_at > now() and lease is null),
               (select extract(epoch from min(paused_until) - now()) * 1000 from ranked)
             ) end,
             'endpoints', (
               select json_object_agg(id, json_build_object(
                 'url', url, 'status', status, 'secret', secret,
                 'previousSecret', case when previous_secret_until > now() then previous_secret end
               ))
               from ${webhookEndpoints} where id in (select endpoint_id from claimed)
             )
           ) as claim,
           null as id, null as attempt, null as "endpointId", null as type, null as body, null as channel,
           null as recipient
    union all
    select null, c.notification_id, c.attempt, c.endpoint_id, m.type, m.body, n.channel, n.recipient
    from claimed c
    cross join lateral (
      select channel, recipient, message_id from ${notifications} where id = c.notification_id limit 1
    ) n
    cross join lateral (select type, body from ${messages} where id = n.message_id limit 1) m`,
);

/**
 * Takes up to `limit` due notifications for `leaseMs`, at most `cap` of one endpoint, or as many as `free` says of it.
 * `more` is whether others are due, or may be, that it did not take. `nextMs` is how soon one that nobody holds will be
 * due, or null where there is none, or where others may be due already.
 */
export async function claimDeliveries(
  db: Db,
  values: Omit<Claim, 'full' | 'free'> & { free: ReadonlyMap<string, number> },
): Promise<{ deliveries: Delivery[]; more: boolean; nextMs: number | null }> {
  const { lease, free } = values;
  const full = [...free].filter(([, count]) => count <= 0).map(([endpointId]) => endpointId);
  const rows = await db.run(claim, {
    ...values,
    full: `{${full.join(',')}}`,
    free: JSON.stringify(Object.fromEntries(free)),
  });
  const deliveries: Delivery[] = [];
  let claimed: Claimed = { more: false, nextMs: null, endpoints: null };
  for (const row of rows) {
    if (row.claim) claimed = row.claim;
    else {
      const { id, attempt, type, body, channel, recipient, endpointId } = row;
      const endpoint = claimed.endpoints?.[endpointId ?? ''] ?? null;
      deliveries.push({ id, lease, attempt, type, body, channel, recipient, endpointId, endpoint });
    }
  }
  return { deliveries, more: claimed.more, nextMs: claimed.nextMs };
}

/**
 * What became of a held notification. `retry` and `cut` are due again after `delayMs`, `release` at once. `cut` was under
 * way when a shutdown could wait no longer, `release` never attempted: both have as many attempts left as before.
 */
export type Settlement = {
  id: string;
  lease: string;
  outcome: 'sent' | 'retry' | 'dead' | 'cut' | 'release';
  delayMs?: number;
  durationMs?: number;
  status?: number | null;
  error?: string | null;
};

/** An endpoint whose state a settlement changed. */
export type EndpointChange = { id: string; status: 'enabled' | 'paused' | 'disabled' };

/** Failures in a row after which an endpoint is paused, and days of nothing but failures after which it is disabled. */
const PAUSE_AFTER = 10;
const DISABLE_AFTER_DAYS = 5;

const held = (d: SQL) => sql`${d}.notification_id = r.id and ${d}.lease = r.lease`;

// Checks the lease token of every row: what another dispatcher has claimed since is left alone, its log included.
// Endpoints are locked in order, and only those whose health changes: two settlements cannot deadlock, and where all
// goes well none is touched. A pause begins at 30 s and doubles with every round of failures, up to an hour.
const settle = statement<{ results: string; dispatcher: string }, { settled: number; changes: EndpointChange[] }>(
  'deliveries.settle',
  ($) => sql`
    with r as materialized (
      select * from json_to_recordset((${$.results}::text)::json)
        as r (id uuid, lease uuid, outcome text, "delayMs" float8, "durationMs" int, status int, error text)
    ), gone as (
      delete from ${deliveries} d using r
      where ${held(sql`d`)} and r.outcome in ('sent', 'dead')
      returning r.*, d.endpoint_id, d.attempt
    ), kept as (
      update ${deliveries} d
      set due_at = now() + coalesce(r."delayMs", 0) * interval '1 millisecond', lease = null,
          attempt = d.attempt - case when r.outcome in ('cut', 'release') then 1 else 0 end
      from r where ${held(sql`d`)} and r.outcome in ('retry', 'cut', 'release')
      returning r.*, d.endpoint_id, d.attempt
    ), settled as (
      select * from gone union all select * from kept
    ), logged as (
      insert into ${attempts} (notification_id, at, duration_ms, status, error, dispatcher)
      select id, now() - "durationMs" * interval '1 millisecond', "durationMs", status, error, ${$.dispatcher}::text
      from kept where outcome in ('retry', 'cut')
    ), finished as (
      insert into ${outcomes}
        (notification_id, status, attempts, last_error, finished_at, duration_ms, http_status, dispatcher)
      select id, outcome, attempt, error, now(), "durationMs", status, ${$.dispatcher}::text
      from gone
    ), health as (
      select endpoint_id, bool_or(outcome = 'sent') as ok, bool_or(coalesce(status = 410, false)) as unwanted,
             count(*) filter (where outcome <> 'sent') as failed
      from settled where endpoint_id is not null and outcome in ('sent', 'retry', 'dead') group by endpoint_id
    ), touched as materialized (
      select e.id, e.status, h.ok, h.unwanted,
             case when h.ok then 0 else e.failures + h.failed end as failures,
             case when h.ok then null else coalesce(e.failing_since, now()) end as failing_since
      from ${webhookEndpoints} e join health h on h.endpoint_id = e.id
      where e.status <> 'disabled' and (h.failed > 0 or e.failures > 0)
      order by e.id for update of e
    ), judged as (
      select *, case
          when unwanted or failing_since < now() - interval '${sql.raw(String(DISABLE_AFTER_DAYS))} days' then 'disabled'
          when ok then 'enabled'
          when failures >= ${sql.raw(String(PAUSE_AFTER))} then 'paused'
          else status
        end as verdict
      from touched
    ), marked as (
      update ${webhookEndpoints} e
      set status = j.verdict, failures = j.failures, failing_since = j.failing_since,
          paused_until = case when j.verdict = 'paused' then now() + least(
            interval '1 hour',
            interval '30 seconds' * 2 ^ least(12, greatest(0, j.failures - ${sql.raw(String(PAUSE_AFTER))}) / 4)
          ) end
      from judged j where e.id = j.id
    )
    select (select count(*) from settled)::int as settled, coalesce((
      select json_agg(json_build_object('id', id, 'status', verdict)) from judged where verdict <> status
    ), '[]') as changes`,
);

/** Settles a batch in one statement; `settled` is how many of it were still held. */
export async function settleDeliveries(
  db: Db,
  results: Settlement[],
  dispatcher: string,
): Promise<{ settled: number; changes: EndpointChange[] }> {
  const [row] = await db.run(settle, { results: JSON.stringify(results), dispatcher });
  if (!row) throw new Error('deliveries.settle returned no row');
  return row;
}

const extend = statement<{ held: string; leaseMs: number }, { id: string }>(
  'deliveries.extend',
  ($) => sql`
    update ${deliveries} d set due_at = now() + ${$.leaseMs}::int * interval '1 millisecond'
    from json_to_recordset((${$.held}::text)::json) as r (id uuid, lease uuid)
    where ${held(sql`d`)}
    returning d.notification_id as id`,
);

/** Extends the leases of what is still held, and returns the ids of it. */
export async function extendLeases(db: Db, held: readonly Delivery[], leaseMs: number): Promise<Set<string>> {
  const pairs = held.map(({ id, lease }) => ({ id, lease }));
  const rows = await db.run(extend, { held: JSON.stringify(pairs), leaseMs });
  return new Set(rows.map((row) => row.id));
}

/** How much is queued and finished; `sent` is the planner's estimate, as counting millions would cost too much. */
export type QueueDepth = { pending: number; sent: number; dead: number; canceled: number; oldestDueS: number };

const depth = statement<Record<never, never>, QueueDepth>(
  'deliveries.depth',
  () => sql`
    select (select count(*) from ${deliveries})::float8 as pending,
           not_sent.dead::float8 as dead, not_sent.canceled::float8 as canceled,
           greatest(0, estimate.rows - not_sent.dead - not_sent.canceled)::float8 as sent,
           coalesce((select extract(epoch from now() - min(due_at)) from ${deliveries} where due_at <= now()), 0)::float8
             as "oldestDueS"
    from (
      select count(*) filter (where status = 'dead') as dead, count(*) filter (where status = 'canceled') as canceled
      from ${outcomes} where status <> 'sent'
    ) not_sent, (
      select greatest(reltuples, 0) as rows from pg_class where oid = 'outcomes'::regclass
    ) estimate`,
);

export async function queueDepth(db: Db, signal: AbortSignal): Promise<QueueDepth> {
  const [row] = await db.run(depth, {}, signal);
  if (!row) throw new Error('deliveries.depth returned no row');
  return row;
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
    const [row] = await db.run(prune, { days, limit: PRUNE_BATCH });
    all += row?.pruned ?? 0;
    if ((row?.pruned ?? 0) < PRUNE_BATCH) return all;
  }
}
