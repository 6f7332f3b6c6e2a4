import { type SQL, sql } from 'drizzle-orm';
import { columns, type Db, rfc3339, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import { type ReservationRow, type ReservationValues, reserveKey } from '../idempotency/reserve-key.ts';
import { enqueue, queuedAnswer, toEndpoint } from '../outbox/enqueue.ts';
import {
  keyIdsOf,
  livePrevious,
  type PreviousSecret,
  type WebhookEndpoint,
  webhookEndpoints,
} from '../outbox/schema.ts';

const find = statement<{ id: string }, WebhookEndpoint>(
  'webhookEndpoints.find',
  ($) => sql`select ${columns(webhookEndpoints)} from ${webhookEndpoints} where id = ${$.id}::uuid`,
  'reads',
);

/** Throws AppError `not-found`. */
export async function findEndpoint(db: Db, id: string, signal: AbortSignal): Promise<WebhookEndpoint> {
  const [endpoint] = await db.run(find, { id }, signal);
  return endpoint ?? noSuchEndpoint();
}

const list = statement<{ after: string; limit: number }, WebhookEndpoint>(
  'webhookEndpoints.list',
  ($) => sql`
    select ${columns(webhookEndpoints)} from ${webhookEndpoints}
    where id > ${$.after}::uuid order by id limit ${$.limit}::int`,
  'reads',
);

/** Comes before every id. */
export const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

/** Endpoints in order of creation, after the id `after`; one more than `limit` where there are more. */
export async function listEndpoints(
  db: Db,
  { after, limit }: { after: string | null; limit: number },
  signal: AbortSignal,
): Promise<WebhookEndpoint[]> {
  return db.run(list, { after: after ?? BEFORE_ALL, limit: limit + 1 }, signal);
}

/** `events` is a JSON array; `secret` is sealed. */
type NewEndpoint = { id: string; url: string; events: string; description: string; secret: string; now: string };

const eventsOf = (json: unknown) => sql`array(select json_array_elements_text((${json}::text)::json))`;

const create = statement<NewEndpoint & ReservationValues, ReservationRow>(
  'webhookEndpoints.create',
  ($) => sql`
    with ${reserveKey($)}, made as (
      insert into ${webhookEndpoints} (id, url, events, description, secret, created_at, updated_at)
      select ${$.id}::uuid, ${$.url}::text, ${eventsOf($.events)}, ${$.description}::text, ${$.secret}::text,
             ${$.now}::timestamptz, ${$.now}::timestamptz
      from reservation where fresh
    )
    select fresh, same, response from reservation`,
  'inserts',
);

export async function createEndpoint(
  db: Db,
  values: NewEndpoint & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await db.run(create, values, signal);
  if (!row) throw new Error('webhookEndpoints.create returned no row');
  return row;
}

type Changed = { found: boolean } & (WebhookEndpoint | { [K in keyof WebhookEndpoint]: null });

const target = ($: { id: unknown; versions: unknown }): SQL => sql`target as (
    select id, version from ${webhookEndpoints} where id = ${$.id}::uuid for update
  ), matching as (
    select id from target where ${$.versions}::text is null or version = any((${$.versions}::text)::int[])
  )`;
const result = sql`select exists (select from target) as found, ${columns(webhookEndpoints, 'changed')}
    from (select) one left join changed on true`;

type Change = Omit<NewEndpoint, 'secret'> & { versions: string | null };

const update = statement<Change, Changed>(
  'webhookEndpoints.update',
  ($) => sql`
    with ${target($)}, changed as (
      update ${webhookEndpoints} e
      set url = ${$.url}::text, events = ${eventsOf($.events)}, description = ${$.description}::text,
          version = e.version + 1, updated_at = ${$.now}::timestamptz,
          status = 'enabled', failures = 0, failing_since = null, last_failed_at = null, paused_until = null
      from matching where e.id = matching.id
      returning e.*
    )
    ${result}`,
);

/**
 * Replaces the endpoint where its version is among `versions` (null: any), and enables it again.
 * Throws AppError `not-found`, `precondition-failed`.
 */
export async function updateEndpoint(db: Db, change: Change, signal: AbortSignal): Promise<WebhookEndpoint> {
  return changedEndpoint(await db.run(update, change, signal));
}

const remove = statement<{ id: string; versions: string | null }, Changed>(
  'webhookEndpoints.remove',
  ($) => sql`
    with ${target($)}, changed as (
      delete from ${webhookEndpoints} e using matching where e.id = matching.id returning e.*
    )
    ${result}`,
);

/** Deletes the endpoint where its version is among `versions` (null: any). Throws `not-found`, `precondition-failed`. */
export async function removeEndpoint(db: Db, id: string, versions: string | null, signal: AbortSignal): Promise<void> {
  changedEndpoint(await db.run(remove, { id, versions }, signal));
}

function changedEndpoint([row]: Changed[]): WebhookEndpoint {
  if (!row?.found) return noSuchEndpoint();
  if (row.id === null) throw new AppError('precondition-failed', 'The endpoint has changed since that version.');
  const { found: _, ...endpoint } = row;
  return endpoint;
}

function noSuchEndpoint(): never {
  throw new AppError('not-found', 'There is no such webhook endpoint.');
}

// What POST may act on; the row is locked, so that two rotations follow each other.
const existing = ($: { id: unknown }): SQL =>
  sql`existing as (select * from ${webhookEndpoints} where id = ${$.id}::uuid for update)`;

/** Hours for which a secret that was replaced signs too, and how many such secrets an endpoint may have. */
const OVERLAP_HOURS = 24;
const MOST_PREVIOUS = 10;

type Rotation = { id: string; secret: string; now: string };
type Rotated = { found: boolean } & (ReservationRow | { [K in keyof ReservationRow]: null });

const rotate = statement<Rotation & ReservationValues, Rotated>('webhookEndpoints.rotate', ($) => {
  const precondition = sql`exists (
      select from existing, kept where jsonb_array_length(kept.secrets) < ${sql.raw(String(MOST_PREVIOUS))}
    )`;
  const body = sql`json_build_object('id', id, 'url', url, 'events', to_json(events), 'description', description,
      'status', status, 'version', version + 1, 'createdAt', ${rfc3339(sql`created_at`)}, 'updatedAt', ${$.now}::text,
      'secret', ${$.secret}::text)`;
  const response = sql`(select json_build_object('status', 200,
      'headers', json_build_object('ETag', '"' || (version + 1) || '"'), 'body', ${body})::text from existing)`;
  return sql`
      with ${existing($)}, kept as (
        select ${livePrevious(sql`existing`)} as secrets from existing
      ), ${reserveKey($, { precondition, response })}, changed as (
        update ${webhookEndpoints} e
        set previous_secrets = kept.secrets || jsonb_build_object('secret', existing.secret,
              'until', now() + interval '${sql.raw(String(OVERLAP_HOURS))} hours'),
            secret = ${$.secret}::text, version = e.version + 1, updated_at = ${$.now}::timestamptz
        from existing, kept where e.id = existing.id and exists (select from reservation where fresh)
      )
      select exists (select from existing) as found, fresh, same, response
      from (select) one left join reservation on true`;
});

/**
 * Gives the endpoint a new sealed secret; each old one signs too for a day from its rotation.
 * Throws AppError `not-found`, and `conflict` where too many would.
 */
export async function rotateSecret(
  db: Db,
  values: Rotation & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await db.run(rotate, values, signal);
  if (row && row.fresh !== null) return row;
  if (!row?.found) return noSuchEndpoint();
  throw new AppError('conflict', `${MOST_PREVIOUS} earlier secrets sign too: wait for the first of them to expire.`);
}

const test = statement<{ id: string; notificationId: string } & ReservationValues, ReservationRow>(
  'webhookEndpoints.test',
  ($) => {
    const precondition = sql`exists (select from existing)`;
    const response = queuedAnswer({
      id: sql`${$.notificationId}::uuid`,
      type: sql`'webhook.test'`,
      channel: sql`'webhook'`,
      userId: sql`null`,
      endpointId: sql`${$.id}::uuid`,
    });
    const event = {
      from: sql`asked`,
      type: sql`'webhook.test'`,
      userId: sql`null::uuid`,
      data: sql`json_build_object('endpointId', asked.id)`,
    };
    return sql`
    with ${existing($)}, ${reserveKey($, { precondition, response })}, asked as (
      select id from existing where exists (select from reservation where fresh)
    ), ${enqueue(event, [toEndpoint(event, sql`asked.id`, sql`${$.notificationId}::uuid`)])}
    select fresh, same, response from reservation`;
  },
  'inserts',
);

/** Queues a `webhook.test` for this endpoint alone. Throws AppError `not-found`. */
export async function queueTest(
  db: Db,
  values: { id: string; notificationId: string } & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await db.run(test, values, signal);
  return row ?? noSuchEndpoint();
}

const count = statement<Record<never, never>, { count: number }>(
  'webhookEndpoints.count',
  () => sql`select count(*)::int as count from ${webhookEndpoints}`,
);

export async function countEndpoints(db: Db, signal: AbortSignal): Promise<number> {
  const [row] = await db.run(count, {}, signal);
  return row?.count ?? 0;
}

/** An endpoint's secrets as they are stored, and of the previous ones those that still sign. */
export type Sealed = { id: string; secret: string; allPrevious: PreviousSecret[]; livePrevious: PreviousSecret[] };

const listSealed = statement<
  { after: string; limit: number; keyId: string },
  { last: string; count: number; sealed: Sealed[] | null }
>(
  'webhookEndpoints.sealed',
  ($) => sql`
    select max(id::text) as last, count(*)::int as count, json_agg(json_build_object(
        'id', id, 'secret', secret, 'allPrevious', previous_secrets, 'livePrevious', live
      )) filter (where not ids <@ array[${$.keyId}::text]) as sealed
    from (
      select id, secret, previous_secrets, ${livePrevious(sql`e`)} as live, ${keyIdsOf(sql`e`)} as ids
      from ${webhookEndpoints} e where id > ${$.after}::uuid order by id limit ${$.limit}::int
    ) page`,
);

/**
 * Of up to `limit` endpoints after the id `after`, those with a secret that signs and is not sealed with the key of this
 * id; how many endpoints there were, and the last of them, null where none comes after it.
 */
export async function sealedEndpoints(
  db: Db,
  page: { after: string; limit: number; keyId: string },
  signal: AbortSignal,
): Promise<{ last: string | null; count: number; sealed: Sealed[] }> {
  const [row] = await db.run(listSealed, page, signal);
  const { last = null, count = 0, sealed } = row ?? {};
  return { last: count < page.limit ? null : last, count, sealed: sealed ?? [] };
}

/** Secrets to store in place of those that were read. */
export type Resealed = {
  id: string;
  secretWas: string;
  previousWas: PreviousSecret[];
  secret: string;
  previous: PreviousSecret[];
};

// Locked in order of ids, as whoever else changes several does.
const reseal = statement<{ changes: string }, { id: string }>(
  'webhookEndpoints.reseal',
  ($) => sql`
    with change as materialized (
      select * from json_to_recordset((${$.changes}::text)::json)
        as c (id uuid, "secretWas" text, "previousWas" jsonb, secret text, previous jsonb)
    ), locked as materialized (
      select id from ${webhookEndpoints} where id in (select id from change) order by id for update
    )
    update ${webhookEndpoints} e set secret = change.secret, previous_secrets = change.previous
    from locked join change on change.id = locked.id
    where e.id = locked.id and e.secret = change."secretWas" and e.previous_secrets = change."previousWas"
    returning e.id`,
);

/** Stores secrets that were sealed anew where they are still those that were read, and returns the ids of these. */
export async function resealEndpoints(db: Db, changes: readonly Resealed[], signal: AbortSignal): Promise<string[]> {
  return (await db.run(reseal, { changes: JSON.stringify(changes) }, signal)).map(({ id }) => id);
}
