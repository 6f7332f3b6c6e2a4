import { type SQL, type SQLWrapper, sql } from 'drizzle-orm';
import { actions } from '../actions/schema.ts';
import { type Db, type Params, statement } from '../db.ts';
import {
  deliveries,
  EMAIL_LANE,
  isPaused,
  laneOf,
  messages,
  notifications,
  webhookEndpoints,
} from '../outbox/schema.ts';
import { dispatchers } from '../stats/schema.ts';

/** A delivery that this dispatcher holds until its lease expires. */
export type Delivery = {
  id: string;
  lease: string;
  attempt: number;
  type: string;
  body: string;
  /** From the request that caused the message, if that request was part of a trace. */
  traceparent: string | null;
  channel: 'webhook' | 'email';
  recipient: string | null;
  endpointId: string | null;
  /** Null for an email, and once the endpoint is deleted. */
  endpoint: Endpoint | null;
};

/** The right to deliver and to settle: a notification's id with a lease token. */
export type Lease = Pick<Delivery, 'id' | 'lease'>;

/** The endpoint of a webhook. Secrets are sealed: the current one, then previous ones that still sign, newest first. */
type Endpoint = {
  url: string;
  status: 'enabled' | 'paused' | 'disabled';
  secrets: string[];
};

/** The result of a claim. */
export type Claimed = {
  deliveries: Delivery[];
  /** Lanes with more due than the claim took. */
  more: string[];
  /** Whether lanes that the request does not name have more due. */
  moreUnnamed: boolean;
  /** Whether the claim ended early because it found as much as it may take. The next claim starts after `cursor`. */
  unfinished: boolean;
  /** Whether the claim ended early because it visited the maximum number of lanes. The round goes on after `cursor`. */
  unvisited: boolean;
  cursor: string;
  /** Milliseconds until the next delivery without a lease is due; null if none is known. */
  nextMs: number | null;
  /** Whether there are running bulk actions for dispatchers to do. */
  jobs: boolean;
};

/** The claiming dispatcher: its name, and the longest time from one claim to the next, in milliseconds. */
type Claimant = { name: string; everyMs: number };

/**
 * What a claim may take: `limit` rows in all; from each lane as many as `rooms` says; one row each from up to `slow`
 * lanes that have SHARED in `rooms`; one row each from up to `unnamed` lanes that `rooms` does not name.
 */
export type Room = {
  limit: number;
  maxBytes: number;
  rooms: Record<string, number>;
  slow: number;
  unnamed: number;
};

/** In place of a number in `rooms`: one row, until the claim's `slow` is used up. */
export const SHARED = -1;

/** A claim request: the room, and the lanes to visit: from the one after `after`, wrapping around, up to `until`. */
export type ClaimRequest = Room & { after: string; until: string };

type Values = Omit<ClaimRequest, 'rooms'> & Claimant & { rooms: string; leaseMs: number; lease: string };
type Summary = Omit<Claimed, 'deliveries'> & { endpoints: Record<string, Endpoint> | null };
type Row = ({ claim: null } & Omit<Delivery, 'lease' | 'endpoint'>) | { claim: Summary };

/** How many lanes one claim may visit, at about 3 µs each. */
const MAX_LANES_VISITED = 1000;
/** Seconds after which a claim reports again that its dispatcher is alive. A claim that takes nothing writes nothing else. */
const REPORT_S = 10;
const FIRST_LANE = sql`'00000000-0000-0000-0000-000000000000'::uuid`;

/** The rows of `visited`: one per lane visited, with running sums over the lanes before it. */
const walk = ($: Params<Values>) => sql`
  select 0 as look, 0 as lap, ${$.after}::uuid as lane, null::timestamptz as due_at, false as leased, 0 as room,
         false as named, null::timestamptz as paused_until, 0 as open, 0 as unnamed, 0 as slow
  union all
  select v.look + 1, next.lap, next.lane, next.due_at, next.leased, here.room, here.named, e.paused_until,
         v.open + (here.open and here.room > 0)::int, v.unnamed + (here.open and not here.named)::int,
         v.slow + (here.open and here.shared)::int
  from visited v
  cross join lateral (
    ${step(sql`v.lap`, sql`v.lane`, sql`case when ${wraps($)} then ${EMAIL_LANE} else ${$.until}::uuid end`, sql`true`)}
    union all
    ${step(sql`1`, FIRST_LANE, sql`${$.until}::uuid`, wraps($))}
    limit 1
  ) next
  left join ${webhookEndpoints} e on e.id = next.lane and ${isPaused(sql`e`)}
  cross join lateral (
    select known is not null as named,
           next.due_at <= now() and e.id is null as open,
           coalesce(known < 0, false) as shared,
           case when known is null then (v.unnamed < ${$.unnamed}::int)::int
                when known < 0 then (v.slow < ${$.slow}::int)::int
                else known end as room
    from (select ((select rooms from given) ->> next.lane::text)::int as known) rooms
  ) here
  where v.look < ${sql.raw(String(MAX_LANES_VISITED))} and v.open < ${$.limit}::int`;

/** The JSON that describes a whole claim. */
const SUMMARY = sql`json_build_object(
  'more', coalesce((select json_agg(distinct lane) from left_over where named), '[]'),
  'moreUnnamed', exists (select from left_over where not named),
  'unfinished', ending.unfinished,
  'unvisited', not ending.unfinished and ending.look >= ${sql.raw(String(MAX_LANES_VISITED))},
  'cursor', coalesce((
    select lane from chosen where fits and exists (select from chosen where nth = 1 and roomy and not fits)
    order by look desc limit 1
  ), ending.lane),
  'nextMs', case when not ending.unfinished then extract(epoch from least(
    (select min(due_at) from visited where due_at > now() and not leased and due_at < 'infinity'),
    (select min(next.due_at) from visited v cross join lateral (
      select due_at from ${deliveries} d
      where ${laneOf(sql`d`)} = v.lane and d.due_at > now() and d.due_at < 'infinity' and d.lease is null
      order by d.due_at limit 1
    ) next where v.look > 0 and (v.due_at <= now() or v.leased) and v.lane not in (select lane from left_over)),
    (select min(paused_until) from visited where due_at <= now() and isfinite(paused_until))
  ) - now()) * 1000 end,
  'jobs', exists (select from ${actions} where status = 'running'),
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
)`;

// `visited` walks the index (lane, due_at) from `after`, wrapping around, to `until`, or until it has found enough
// lanes with room. A lane that is full, paused or not due costs one look-up, whatever its backlog. `due` locks the
// oldest rows of each lane, one more than its room, to learn whether there are more. If not everything fits, `chosen`
// lets lanes take turns, and the next claim starts with those that got nothing. The first row describes the whole
// claim, so that data that deliveries share is sent once. `nextMs` covers the visited lanes with nothing left over. It
// is computed only if the claim does not take all that it may: in the index, all leased rows come after the due ones. A
// webhook needs nothing of its notification: that is looked up for email, and if the message is not known.
const claim = statement<Values, Row>(
  'deliveries.claim7',
  ($) => sql`
    with recursive given as materialized (
      select (${$.rooms}::text)::jsonb as rooms
    ), visited as (${walk($)}), open as (
      select lane, room, named, look from visited where look > 0 and due_at <= now() and paused_until is null
    ), due as materialized (
      select open.lane, open.named, open.look, locked.row, locked.bytes, locked.nth, locked.nth <= open.room as roomy
      from open cross join lateral (
        select row, bytes, row_number() over () as nth from (
          select ctid as row, bytes from ${deliveries} d
          where ${laneOf(sql`d`)} = open.lane and d.due_at <= now() and open.room > 0
          order by d.due_at limit open.room + 1
          for update skip locked
        ) oldest
      ) locked
    ), chosen as (
      select lane, named, look, nth, row, roomy, roomy and count(*) filter (where roomy) over w <= ${$.limit}::int
        and (sum(bytes) filter (where roomy) over w <= ${$.maxBytes}::bigint
          or count(*) filter (where roomy) over w = 1) as fits
      from due window w as (order by nth, look rows unbounded preceding)
    ), claimed as (
      update ${deliveries}
      set due_at = now() + ${$.leaseMs}::int * interval '1 millisecond', lease = ${$.lease}::uuid, attempt = attempt + 1
      where ctid = any(array(select row from chosen where fits))
      returning notification_id, attempt, endpoint_id, message_id
    ), left_over as (
      select lane, named from chosen where not fits union select lane, named from open where room <= 0
    ), reported as (
      insert into ${dispatchers} (id, last_seen, every_ms)
      select ${$.name}::text, now(), ${$.everyMs}::int
      where not exists (
        select from ${dispatchers}
        where id = ${$.name}::text and last_seen > now() - interval '${sql.raw(String(REPORT_S))} seconds'
      )
      on conflict (id) do update set last_seen = excluded.last_seen, every_ms = excluded.every_ms
    ), ending as (
      select look, lane, open >= ${$.limit}::int as unfinished
      from visited order by look desc limit 1
    )
    select ${SUMMARY} as claim,
           null as id, null as attempt, null as "endpointId", null as type, null as body, null as channel,
           null as recipient, null as traceparent
    from ending
    union all
    select null, c.notification_id, c.attempt, c.endpoint_id, m.type, m.body, coalesce(n.channel, 'webhook'), n.recipient,
           m.traceparent
    from claimed c
    left join lateral (
      select channel, recipient, message_id from ${notifications}
      where (c.endpoint_id is null or c.message_id is null) and id = c.notification_id limit 1
    ) n on true
    cross join lateral (
      select type, body, traceparent from ${messages} where id = coalesce(c.message_id, n.message_id) limit 1
    ) m`,
);

/** Whether the walk still has to wrap around to the first lane. */
function wraps($: { after: SQLWrapper; until: SQLWrapper }): SQL {
  return sql`v.lap = 0 and ${$.until}::uuid <= ${$.after}::uuid`;
}

/** Selects the first row of the next lane after `after`, up to `last`. */
function step(lap: SQL, after: SQL, last: SQL, where: SQL): SQL {
  const lane = laneOf(sql`d`);
  return sql`(
    select ${lap} as lap, ${lane} as lane, d.due_at, d.lease is not null as leased from ${deliveries} d
    where ${lane} > ${after} and ${lane} <= ${last} and ${where} order by ${lane}, d.due_at limit 1
  )`;
}

/** Claims due deliveries for `leaseMs`, as many as there is room for, lane by lane, from the one after `after` to `until`. */
export async function claimDeliveries(
  db: Db,
  { rooms, ...values }: ClaimRequest & Claimant & { leaseMs: number; lease: string },
  signal: AbortSignal,
): Promise<Claimed> {
  const { lease } = values;
  const rows = await db.run(claim, { ...values, rooms: JSON.stringify(rooms) }, signal);
  const deliveries: Delivery[] = [];
  let summary: Summary | undefined;
  for (const row of rows) {
    if (row.claim) summary = row.claim;
    else {
      const { id, attempt, type, body, traceparent, channel, recipient, endpointId } = row;
      const endpoint = summary?.endpoints?.[endpointId ?? ''] ?? null;
      deliveries.push({ id, lease, attempt, type, body, traceparent, channel, recipient, endpointId, endpoint });
    }
  }
  if (!summary) throw new Error(`${claim.name} returned no row`);
  const { endpoints: _, ...rest } = summary;
  return { ...rest, deliveries };
}

/** Whether the row `d` of the queue is the one that `r` names, and still has the lease of `r`. */
export const isHeld = (d: SQL) => sql`${d}.notification_id = r.id and ${d}.lease = r.lease`;

// A notification may be claimed again after its lease was lost: only one of the leases is valid.
const leaseKey = (id: SQL, lease: SQL) => sql`${id} || '/' || ${lease}`;

/** Returns a key that identifies a lease. */
export const keyOf = ({ id, lease }: Lease) => `${id}/${lease}`;

const extend = statement<{ held: string; leaseMs: number }, { key: string }>(
  'deliveries.extend',
  ($) => sql`
    update ${deliveries} d set due_at = now() + ${$.leaseMs}::int * interval '1 millisecond'
    from json_to_recordset((${$.held}::text)::json) as r (id uuid, lease uuid)
    where ${isHeld(sql`d`)}
    returning ${leaseKey(sql`d.notification_id`, sql`d.lease`)} as key`,
);

/** Extends leases that are still held, and returns their keys (see `keyOf`). */
export async function extendLeases(
  db: Db,
  held: readonly Lease[],
  leaseMs: number,
  signal: AbortSignal,
): Promise<Set<string>> {
  const pairs = held.map(({ id, lease }) => ({ id, lease }));
  const rows = await db.run(extend, { held: JSON.stringify(pairs), leaseMs }, signal);
  return new Set(rows.map((row) => row.key));
}
