import { type SQL, sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { deliveries, messages, notifications, webhookEndpoints } from '../outbox/schema.ts';

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

/** Where a webhook goes. Secrets are sealed: the current one, then the previous ones that still sign, newest first. */
type Endpoint = {
  url: string;
  status: 'enabled' | 'paused' | 'disabled';
  secrets: string[];
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
                 'url', url, 'status', status, 'secrets', jsonb_build_array(secret) || (
                   select coalesce(jsonb_agg(p.entry -> 'secret' order by p.nth desc), '[]')
                   from jsonb_array_elements(previous_secrets) with ordinality p (entry, nth)
                   where (p.entry ->> 'until')::timestamptz > now()
                 )
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

/** Whether the queue's row `d` is the one that `r` names, under the very lease that `r` carries. */
export const isHeld = (d: SQL) => sql`${d}.notification_id = r.id and ${d}.lease = r.lease`;

const extend = statement<{ held: string; leaseMs: number }, { id: string }>(
  'deliveries.extend',
  ($) => sql`
    update ${deliveries} d set due_at = now() + ${$.leaseMs}::int * interval '1 millisecond'
    from json_to_recordset((${$.held}::text)::json) as r (id uuid, lease uuid)
    where ${isHeld(sql`d`)}
    returning d.notification_id as id`,
);

/** Extends the leases of what is still held, and returns the ids of it. */
export async function extendLeases(db: Db, held: readonly Delivery[], leaseMs: number): Promise<Set<string>> {
  const pairs = held.map(({ id, lease }) => ({ id, lease }));
  const rows = await db.run(extend, { held: JSON.stringify(pairs), leaseMs });
  return new Set(rows.map((row) => row.id));
}
