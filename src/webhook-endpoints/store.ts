import { type SQL, sql } from 'drizzle-orm';
import { record } from '../actions/schema.ts';
import { type Db, type Joined, type Params, rfc3339, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import { type ReservationRow, type ReservationValues, reserveKey, runReserving } from '../idempotency/reserve-key.ts';
import { enqueue, queuedAnswer, toEndpoint } from '../outbox/enqueue.ts';
import { attempts, INTERRUPTED, livePrevious, notifications, outcomes, webhookEndpoints } from '../outbox/schema.ts';
import { creating, noSuch, tableStore } from '../table-store.ts';
import { type WebhookEndpointHealth, type WebhookEndpointInput, WebhookEndpointView } from './schema.ts';

const store = tableStore(WebhookEndpointView, 'webhook endpoint');
export const findEndpoint = store.find;
export const listEndpoints = store.list;

const eventsOf = (json: unknown) => sql`array(select json_array_elements_text((${json}::text)::json))`;

/** `secret` is sealed. */
export const createEndpoint = creating<
  WebhookEndpointInput & { id: string; secret: string; createdAt: string; updatedAt: string }
>(
  'webhook_endpoints.create',
  ($) => sql`
    with ${reserveKey($)}, made as (
      insert into ${webhookEndpoints} (id, url, events, description, secret, created_at, updated_at)
      select ${$.id}::uuid, ${$.url}::text, ${eventsOf($.events)}, ${$.description}::text, ${$.secret}::text,
             ${$.createdAt}::timestamptz, ${$.updatedAt}::timestamptz
      from reservation where fresh
      returning id
    ), ${record('webhook_endpoint.create', $.keySubject, sql`made`)}
    select fresh, same, response from reservation`,
);

/** Also enables the endpoint, unless an operator paused it. */
export const updateEndpoint = store.conditional<WebhookEndpointInput & { now: string; sub: string }>(
  'update',
  ($) => sql`changed as (
      update ${webhookEndpoints} e
      set url = ${$.url}::text, events = ${eventsOf($.events)}, description = ${$.description}::text,
          version = e.version + 1, updated_at = ${$.now}::timestamptz,
          status = case when e.paused_until = 'infinity' then 'paused' else 'enabled' end,
          paused_until = case when e.paused_until = 'infinity' then e.paused_until end,
          failures = 0, failing_since = null, last_failed_at = null
      from matching where e.id = matching.id
      returning e.*
    ), ${record('webhook_endpoint.replace', $.sub, sql`changed`)}`,
);

export const removeEndpoint = store.conditional<{ sub: string }>(
  'remove',
  ($) => sql`changed as (
      delete from ${webhookEndpoints} e using matching where e.id = matching.id returning e.*
    ), ${record('webhook_endpoint.delete', $.sub, sql`changed`)}`,
);

/** Stops deliveries to the endpoint until it is enabled. Notifications are still queued. Refuses a disabled one. */
export const pauseEndpoint = store.conditional<{ now: string; sub: string }>(
  'pause',
  ($) => sql`changed as (
      update ${webhookEndpoints} e
      set status = 'paused', paused_until = 'infinity', version = e.version + 1, updated_at = ${$.now}::timestamptz
      from matching where e.id = matching.id and e.status <> 'disabled'
      returning e.*
    ), ${record('webhook_endpoint.pause', $.sub, sql`changed`)}`,
  undefined,
  'The endpoint is disabled: nothing is delivered to it. Enable it first.',
);

/** Enables a paused or disabled endpoint, and resets its failures. */
export const enableEndpoint = store.conditional<{ now: string; sub: string }>(
  'enable',
  ($) => sql`changed as (
      update ${webhookEndpoints} e
      set status = 'enabled', failures = 0, failing_since = null, last_failed_at = null, paused_until = null,
          version = e.version + 1, updated_at = ${$.now}::timestamptz
      from matching where e.id = matching.id
      returning e.*
    ), ${record('webhook_endpoint.enable', $.sub, sql`changed`)}`,
);

/** How many of an endpoint's last notifications its health covers. */
const RECENT = sql.raw('100');

// If a notification has an outcome, its last attempt is in the outcome.
const health = statement<{ ids: string }, WebhookEndpointHealth>(
  'webhook_endpoints.health',
  ($) => sql`
    select e.id, e.failures, ${rfc3339(sql`e.failing_since`)} as "failingSince",
           ${rfc3339(sql`nullif(e.paused_until, 'infinity')`)} as "pausedUntil", recent.sent, recent.dead, recent.pending,
           coalesce((
             select json_agg(json_build_object(
               'notificationId', f.notification_id, 'at', ${rfc3339(sql`f.at`)}, 'status', f.status, 'error', f.error
             ) order by f.at desc)
             from (
               select notification_id, finished_at - coalesce(duration_ms, 0) * interval '1 millisecond' as at, http_status as status, last_error as error
               from ${outcomes} where status = 'dead' and notification_id = any(recent.ids)
               union all
               select notification_id, at, status, error from ${attempts}
               where notification_id = any(recent.ids) and error is distinct from ${sql.raw(`'${INTERRUPTED}'`)}
               order by at desc limit 5
             ) f
           ), '[]') as "lastFailures"
    from ${webhookEndpoints} e
    cross join lateral (
      select count(*) filter (where o.status = 'sent')::int as sent,
             count(*) filter (where o.status = 'dead')::int as dead,
             count(*) filter (where o.status is null)::int as pending, array_agg(n.id) as ids
      from (
        select id from ${notifications} where endpoint_id = e.id order by id desc limit ${RECENT}
      ) n left join ${outcomes} o on o.notification_id = n.id
    ) recent
    where e.id = any((${$.ids}::text)::uuid[])`,
  'reads',
);

/** Returns the health of these endpoints, by id. Endpoints that do not exist are left out. */
export async function healthOfEndpoints(
  db: Db,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, WebhookEndpointHealth>> {
  const rows = await db.run(health, { ids: `{${ids}}` }, signal);
  return new Map(rows.map((row) => [row.id, row]));
}

/** The health of one endpoint. Throws AppError `not-found`. */
export async function healthOfEndpoint(db: Db, id: string, signal: AbortSignal): Promise<WebhookEndpointHealth> {
  const found = (await healthOfEndpoints(db, [id], signal)).get(id);
  if (!found) throw noSuch('webhook endpoint');
  return found;
}

// Locks the endpoint, so that concurrent rotations run one after the other.
const existing = ($: { id: unknown }): SQL =>
  sql`existing as (select * from ${webhookEndpoints} where id = ${$.id}::uuid for update)`;

/** Hours for which a previous secret also signs, and how many previous secrets an endpoint may have. */
const OVERLAP_HOURS = 24;
const MAX_PREVIOUS = 10;

type Rotation = { id: string; secret: string; now: string };
type Rotated = { found: boolean } & Joined<ReservationRow>;

const rotate = statement<Rotation & ReservationValues, Rotated>('webhook_endpoints.rotate', ($) => {
  const precondition = sql`exists (
      select from existing, kept where jsonb_array_length(kept.secrets) < ${sql.raw(String(MAX_PREVIOUS))}
    )`;
  const body = WebhookEndpointView.json('existing', {
    version: sql`version + 1`,
    updatedAt: sql`${$.now}::text`,
    secret: sql`${$.secret}::text`,
  });
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
        returning e.id
      ), ${record('webhook_endpoint.rotate_secret', $.keySubject, sql`changed`)}
      select exists (select from existing) as found, fresh, same, response
      from (select) one left join reservation on true`;
});

/**
 * Replaces the endpoint's secret with a new, sealed one. Previous secrets also sign for 24 hours after their rotation.
 * Throws AppError `not-found`, and `conflict` if there are too many previous secrets.
 */
export async function rotateSecret(
  db: Db,
  values: Rotation & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await runReserving(db, rotate, values, signal, (first) => first?.fresh === null);
  if (row && row.fresh !== null) return row;
  if (!row?.found) throw noSuch('webhook endpoint');
  throw new AppError('conflict', `${MAX_PREVIOUS} previous secrets also sign. Wait until the first of them expires.`);
}

const buildTest = ($: Params<{ id: string; notificationId: string } & ReservationValues>) => {
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
    data: sql`json_build_object('endpointId', asked.id)`,
  };
  return sql`
    with ${existing($)}, ${reserveKey($, { precondition, response })}, asked as (
      select id from existing where exists (select from reservation where fresh)
    ), ${record('webhook_endpoint.test', $.keySubject, sql`asked`)},
    ${enqueue(event, [toEndpoint(event, sql`asked.id`, sql`${$.notificationId}::uuid`)])}
    select fresh, same, response from reservation`;
};

/** Enqueues a `webhook.test` event for this endpoint only. Throws AppError `not-found`. */
export const queueTest = creating('webhook_endpoints.test', buildTest, () => noSuch('webhook endpoint'));
