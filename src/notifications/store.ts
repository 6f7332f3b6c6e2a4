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
  /** Null for an email, and once the endpoint is deleted. Secrets are sealed; the previous one is null once it expired. */
  endpoint: {
    url: string;
    status: 'enabled' | 'paused' | 'disabled';
    secret: string;
    previousSecret: string | null;
  } | null;
};

type Claim = { limit: number; cap: number; leaseMs: number; lease: string; busy: string; full: string };
type ClaimRow = { nextMs: number | null } & (Delivery | { [K in keyof Delivery]: null });

// The locked rows are MATERIALIZED, or the planner may lock more than the limit. Rows of a paused endpoint are put
// off to the end of its pause as they come up, so that the claim's scan never has to pass over them again.
const claim = statement<Claim, ClaimRow>(
  'deliveries.claim',
  ($) => sql`
    with busy as (
      select * from json_to_recordset((${$.busy}::text)::json) as b (endpoint_id uuid, free int)
    ), due as materialized (
      select notification_id, endpoint_id, due_at from ${deliveries}
      where due_at <= now() and (endpoint_id is null or endpoint_id <> all ((${$.full}::text)::uuid[]))
      order by due_at limit ${$.limit}::int
      for update skip locked
    ), ranked as (
      select due.notification_id, e.paused_until,
             due.endpoint_id is null or coalesce(b.free, ${$.cap}::int)
               >= row_number() over (partition by due.endpoint_id order by due.due_at) as fits
      from due
      left join busy b on b.endpoint_id = due.endpoint_id
      left join ${webhookEndpoints} e on e.id = due.endpoint_id and e.status = 'paused' and e.paused_until > now()
    ), claimed as (
      update ${deliveries} d
      set due_at = coalesce(r.paused_until, now() + ${$.leaseMs}::int * interval '1 millisecond'),
          lease = case when r.paused_until is null then ${$.lease}::uuid end,
          attempt = d.attempt + case when r.paused_until is null then 1 else 0 end
      from ranked r
      where d.notification_id = r.notification_id and (r.fits or r.paused_until is not null)
      returning d.notification_id, d.lease, d.attempt, d.endpoint_id
    ), held as (
      select c.notification_id as id, c.lease, c.attempt, c.endpoint_id as "endpointId",
             m.type, m.body, n.channel, n.recipient
      from claimed c
      join ${notifications} n on n.id = c.notification_id
      join ${messages} m on m.id = n.message_id
      where c.lease is not null
    ), next as (
      select (extract(epoch from min(due_at) - now()) * 1000)::float8 as "nextMs"
      from ${deliveries} where due_at > now()
    )
    select next."nextMs", held.* from next left join held on true`,
);

/**
 * Takes up to `limit` due notifications for `leaseMs`, at most `cap` of one endpoint, or as many as `busy` says are
 * free there. `nextMs` is how soon another will be due, or null where none is known.
 */
export async function claimDeliveries(
  db: Db,
  values: Omit<Claim, 'busy' | 'full'> & { free: ReadonlyMap<string, number> },
): Promise<{ deliveries: Delivery[]; nextMs: number | null }> {
  const { free, ...rest } = values;
  const busy = [...free].filter(([, n]) => n > 0).map(([endpoint_id, n]) => ({ endpoint_id, free: n }));
  const full = [...free].filter(([, n]) => n <= 0).map(([endpointId]) => endpointId);
  const rows = await db.run(claim, { ...rest, busy: JSON.stringify(busy), full: `{${full.join(',')}}` });
  const held = rows.filter((row): row is { nextMs: number | null } & Delivery => row.id !== null);
  return { deliveries: held, nextMs: rows[0]?.nextMs ?? null };
}

/** What became of a held notification. `release` gives it back unattempted; `retry` waits for `delayMs`. */
export type Settlement = {
  id: string;
  lease: string;
  outcome: 'sent' | 'retry' | 'dead' | 'release';
  delayMs: number;
  durationMs: number;
  status: number | null;
  error: string | null;
};

const held = (d: SQL) => sql`${d}.notification_id = r.id and ${d}.lease = r.lease`;

// Checks the lease token of every row: what another dispatcher has claimed since is left alone, its log included.
const settle = statement<{ results: string; dispatcher: string }, { id: string }>(
  'deliveries.settle',
  ($) => sql`
    with r as materialized (
      select * from json_to_recordset((${$.results}::text)::json)
        as r (id uuid, lease uuid, outcome text, "delayMs" float8, "durationMs" int, status int, error text)
    ), gone as (
      delete from ${deliveries} d using r
      where ${held(sql`d`)} and r.outcome in ('sent', 'dead')
      returning d.notification_id, d.attempt
    ), kept as (
      update ${deliveries} d
      set due_at = now() + r."delayMs" * interval '1 millisecond', lease = null,
          attempt = d.attempt - case when r.outcome = 'release' then 1 else 0 end
      from r where ${held(sql`d`)} and r.outcome in ('retry', 'release')
      returning d.notification_id
    ), settled as (
      select notification_id from gone union all select notification_id from kept
    ), logged as (
      insert into ${attempts} (notification_id, at, duration_ms, status, error, dispatcher)
      select r.id, now() - r."durationMs" * interval '1 millisecond', r."durationMs", r.status, r.error,
             ${$.dispatcher}::text
      from r join settled s on s.notification_id = r.id where r.outcome <> 'release'
    ), finished as (
      insert into ${outcomes} (notification_id, status, attempts, last_error, finished_at)
      select r.id, r.outcome, gone.attempt, r.error, now() from gone join r on r.id = gone.notification_id
    )
    select notification_id as id from settled`,
);

/** Settles a batch in one statement and returns the ids it still held. */
export async function settleDeliveries(db: Db, results: Settlement[], dispatcher: string): Promise<string[]> {
  const rows = await db.run(settle, { results: JSON.stringify(results), dispatcher });
  return rows.map((row) => row.id);
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
