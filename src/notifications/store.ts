import { type SQL, sql } from 'drizzle-orm';
import { ActionView, actions, record } from '../actions/schema.ts';
import { bind, type Db, type Joined, oneRow, type Params, rfc3339, type Statement, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import type { Of } from '../fields.ts';
import { type ReservationRow, type ReservationValues, reserveKey } from '../idempotency/reserve-key.ts';
import { byEmail, enqueue, queuedAnswer, toSubscribers } from '../outbox/enqueue.ts';
import { attempts, deliveries, messages, notifications, outcomes } from '../outbox/schema.ts';
import { AFTER_ALL, BEFORE_ALL, creating, noSuch } from '../table-store.ts';
import { users } from '../users/schema.ts';
import { FILTERS, matches, matchesMessage, matchesWithoutMessage } from './filters.ts';
import type { BulkFilter, Notification, NotificationWithAttempts } from './schema.ts';

// The view, from n (notification), m (message), o (outcome, if finished) and d (delivery, if pending). A finished
// notification has no delivery, so the queue is not read for it.
const fields = sql`
  n.id, m.type, n.channel, coalesce(o.status, 'pending') as status, n.user_id as "userId",
  n.endpoint_id as "endpointId", coalesce(o.attempts, d.attempt, 0) as attempts, ${rfc3339(sql`d.due_at`)} as "dueAt",
  case when o.status = 'sent' then ${rfc3339(sql`o.finished_at`)} end as "sentAt",
  coalesce(o.last_error, last.error) as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"`;
const progress = sql`
  left join lateral (
    select attempt, due_at, lease from ${deliveries} where notification_id = n.id and o.notification_id is null
  ) d on true
  left join lateral (
    select error from ${attempts} where notification_id = n.id and o.notification_id is null order by at desc limit 1
  ) last on true`;

// The last attempt, which is stored in the outcome, as a row of attempts.
const lastAttempt = sql`
  select finished_at - duration_ms * interval '1 millisecond', duration_ms, http_status, last_error from ${outcomes}`;

/** `leased`: it is being delivered. `finishedAt`: null while it is pending. Neither is in the API. */
export type WholeNotification = Of<typeof NotificationWithAttempts> & { leased: boolean; finishedAt: string | null };

/** Repeated redrives add attempts without limit: at most this many are shown, besides the last one. */
export const MAX_ATTEMPTS = 100;

const find = statement<{ id: string }, WholeNotification>(
  'notifications.findWhole2',
  ($) => sql`
    select ${fields}, m.body as payload, (
      select coalesce(json_agg(json_build_object(
        'at', ${rfc3339(sql`a.at`)}, 'durationMs', a.duration_ms, 'status', a.status, 'error', a.error
      ) order by a.at), '[]')
      from (
        (select at, duration_ms, status, error from ${attempts} where notification_id = n.id order by at desc limit ${sql.raw(String(MAX_ATTEMPTS))})
        union all ${lastAttempt} where notification_id = n.id and duration_ms is not null
      ) a
    ) as "attemptLog", coalesce(d.lease is not null and d.due_at > now(), false) as leased,
    ${rfc3339(sql`o.finished_at`)} as "finishedAt"
    from ${notifications} n join ${messages} m on m.id = n.message_id
    left join ${outcomes} o on o.notification_id = n.id ${progress}
    where n.id = ${$.id}::uuid`,
  'reads',
);

/** Returns a notification with its attempts, in order, and what only the console shows. Throws AppError `not-found`. */
export async function findWholeNotification(db: Db, id: string, signal: AbortSignal): Promise<WholeNotification> {
  const [row] = await db.run(find, { id }, signal);
  if (!row) throw noSuch('notification');
  return row;
}

/** Returns it as the API shows it, with its attempts, in order. Throws AppError `not-found`. */
export async function findNotification(db: Db, id: string, signal: AbortSignal) {
  const { leased: _, finishedAt: __, ...shown } = await findWholeNotification(db, id, signal);
  return shown;
}

/** Undefined filters match everything. */
export type Filters = BulkFilter & { status?: Notification['status'] | undefined };

type FilterValues = Record<(typeof FILTERS)[number], string | null>;
type ListValues = FilterValues & { before: string; from: string; limit: number; status: string | null };
type Listed = Notification & { matches: boolean; last: boolean };

/** The maximum number of notifications that a page scans. If it stops there, it may be short, and has a cursor. */
const MAX_SCANNED = 10_000;

// A page walks one index, newest first, and applies the other filters to the rows on the way. The last row that it may
// scan is returned even if it does not match, to tell where the next page starts. LIMIT in a subquery forces one
// look-up for each row, in the order of the walk; the walk's outer ORDER BY tells the planner that order. Status and
// channel are literals: a generic plan could not tell a rare value from a common one.
const WALKS = {
  user: ($: Params<ListValues>) =>
    sql`select id from ${notifications} where user_id = ${$.userId}::uuid and ${range($)}`,
  endpoint: ($: Params<ListValues>) =>
    sql`select id from ${notifications} where endpoint_id = ${$.endpointId}::uuid and ${range($)}`,
  pending: ($: Params<ListValues>) =>
    sql`select notification_id as id from ${deliveries} where ${range($, 'notification_id')}`,
  dead: ($: Params<ListValues>) => ofOutcome($, 'dead'),
  canceled: ($: Params<ListValues>) => ofOutcome($, 'canceled'),
  webhook: ($: Params<ListValues>) => ofChannel($, 'webhook'),
  email: ($: Params<ListValues>) => ofChannel($, 'email'),
  all: ($: Params<ListValues>) => sql`select id from ${notifications} where ${range($)}`,
};

const ofOutcome = ($: Params<ListValues>, status: string) => sql`
  select notification_id as id from ${outcomes}
  where status = ${sql.raw(`'${status}'`)} and ${range($, 'notification_id')}`;
const ofChannel = ($: Params<ListValues>, channel: string) =>
  sql`select id from ${notifications} where channel = ${sql.raw(`'${channel}'`)} and ${range($)}`;
const range = ($: Params<ListValues>, id = 'id') =>
  sql`${sql.raw(id)} < ${$.before}::uuid and ${sql.raw(id)} >= ${$.from}::uuid`;

function walkOf({ userId, endpointId, status, channel }: Filters): keyof typeof WALKS {
  if (userId) return 'user';
  if (endpointId) return 'endpoint';
  if (status && status !== 'sent') return status;
  return channel ?? 'all';
}

const lists = new Map<string, Statement<ListValues, Listed>>();

function listOn(walk: keyof typeof WALKS): Statement<ListValues, Listed> {
  const known = lists.get(walk);
  if (known) return known;
  const most = sql.raw(String(MAX_SCANNED));
  const made = statement<ListValues, Listed>(
    `notifications.list.${walk}`,
    ($) => sql`
      select ${fields}, chosen.matches, walk.nth = ${most} as last
      from (
        select id, row_number() over () as nth from (${WALKS[walk]($)} order by 1 desc limit ${most}) ids order by 1 desc
      ) walk
      cross join lateral (select * from ${notifications} where id = walk.id limit 1) n
      left join lateral (select * from ${outcomes} where notification_id = n.id limit 1) o on true
      cross join lateral (select type, body from ${messages} where id = n.message_id limit 1) m
      cross join lateral (
        select (${$.status}::text is null or coalesce(o.status, 'pending') = ${$.status}::text)
          and ${matchesWithoutMessage($)} and ${matchesMessage($)} as matches
      ) chosen
      ${progress}
      where chosen.matches or walk.nth = ${most}
      order by walk.id desc limit ${$.limit}::int`,
    'searches',
  );
  lists.set(walk, made);
  return made;
}

/** The filters as parameters. */
const valuesOf = (filters: BulkFilter): FilterValues =>
  Object.fromEntries(FILTERS.map((name) => [name, filters[name] ?? null])) as FilterValues;

/** The first id of this time. Ids are in order of creation, except for the difference between two clocks. */
function idAt(time: string | undefined, slackMs: number): string | undefined {
  if (time === undefined) return undefined;
  const hex = Math.max(0, Date.parse(time) + slackMs).toString(16);
  return `${hex.padStart(12, '0').replace(/^.{8}/, '$&-')}-0000-0000-000000000000`;
}

const CLOCKS_DIFFER_MS = 60_000;

/** `next`: the id after which the next page starts, null if this is the last one. */
export type NotificationPage = { data: Notification[]; next: string | null };

/**
 * Returns a page, newest first, after the id `after`. It scans at most 10,000 notifications: it may be short, even
 * empty, and still have a next page.
 */
export async function listNotifications(
  db: Db,
  { after, limit, ...filters }: Filters & { after: string | null; limit: number },
  signal: AbortSignal,
): Promise<NotificationPage> {
  const { status = null, createdAfter, createdBefore } = filters;
  const from = idAt(createdAfter, -CLOCKS_DIFFER_MS) ?? BEFORE_ALL;
  const ends = [after ?? AFTER_ALL, idAt(createdBefore, CLOCKS_DIFFER_MS) ?? AFTER_ALL].sort();
  const values = { ...valuesOf(filters), status, from, before: ends[0] as string, limit: limit + 1 };
  const rows = await db.run(listOn(walkOf(filters)), values, signal);
  const found = rows.filter((row) => row.matches);
  const data = found.slice(0, limit).map(({ matches: _, last: __, ...shown }) => shown);
  const last = found.length > limit ? data.at(-1) : rows.find((row) => row.last);
  return { data, next: last?.id ?? null };
}

/** A bulk action on all that match: redrives dead ones, or cancels pending ones that are not being delivered. */
export type Bulk = 'redrive' | 'cancel';

const CANDIDATES: Record<Bulk, SQL> = {
  redrive: sql`select notification_id from ${outcomes} where status = 'dead'`,
  cancel: sql`select notification_id from ${deliveries} where lease is null or due_at <= now()`,
};

const counted = (bulk: Bulk, $: Params<FilterValues>) => sql`
  select count(*)::int as matching
  from (${CANDIDATES[bulk]}) q join ${notifications} n on n.id = q.notification_id where ${matches($)}`;

const counts = (bulk: Bulk) =>
  statement<FilterValues, { matching: number }>(`notifications.${bulk}.count`, ($) => counted(bulk, $), 'searches');
const COUNTS = { redrive: counts('redrive'), cancel: counts('cancel') };

/** How many notifications a bulk action would change now. */
export async function countMatching(db: Db, bulk: Bulk, filter: BulkFilter, signal: AbortSignal): Promise<number> {
  return (await oneRow(db, COUNTS[bulk], valuesOf(filter), signal)).matching;
}

type NewBulk = { id: string; filter: BulkFilter };

// Counting may take a while. An action with nothing to do is finished at once.
const starts = (bulk: Bulk) =>
  statement<FilterValues & { id: string; filter: string } & ReservationValues, ReservationRow>(
    `notifications.${bulk}.start`,
    ($) => {
      const at = sql`date_trunc('milliseconds', now())`;
      const response = sql`(select json_build_object(
        'status', 202, 'headers', json_build_object('Location', '/api/v1/actions/' || id),
        'body', ${ActionView.json('asked')})::text from asked)`;
      return sql`
        with counted as materialized (${counted(bulk, $)}), asked as (
          select ${$.id}::uuid as id, 'notifications.' || ${sql.raw(`'${bulk}'`)} as action,
                 ${$.keySubject}::text as sub, null::uuid as target_id, (${$.filter}::text)::json as filter,
                 case when matching > 0 then 'running' else 'finished' end as status, matching, 0 as done,
                 ${at} as created_at, case when matching = 0 then ${at} end as finished_at
          from counted
        ), ${reserveKey($, { response })}, started as (
          insert into ${actions}
            (id, action, sub, target_id, filter, status, matching, done, created_at, finished_at)
          select * from asked where exists (select from reservation where fresh)
        )
        select fresh, same, response from reservation`;
    },
    'searches',
  );
const STARTS = { redrive: starts('redrive'), cancel: starts('cancel') };

/**
 * Starts a bulk action, which dispatchers process in batches. Call `wake` afterwards, and poll the action.
 */
export function startBulk(
  db: Db,
  bulk: Bulk,
  { filter, ...values }: NewBulk & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const all = { ...valuesOf(filter), ...values, filter: JSON.stringify(filter) };
  return oneRow(db, STARTS[bulk], all, signal);
}

type NewNotification = { id: string; userId: string | null; email: string | null; type: string; data: object };

const buildCreate = ($: Params<NewNotification & ReservationValues>) => {
  const precondition = sql`exists (select from recipient)`;
  const response = queuedAnswer({
    id: sql`${$.id}::uuid`,
    type: sql`${$.type}::text`,
    channel: sql`'email'`,
    userId: sql`${$.userId}::uuid`,
    endpointId: sql`null`,
  });
  const event = {
    from: sql`recipient_once`,
    type: sql`${$.type}::text`,
    userId: sql`recipient_once.id`,
    data: sql`(${$.data}::text)::json`,
  };
  return sql`
    with recipient as (
      select id, email from ${users} where id = ${$.userId}::uuid
      union all select null, ${$.email}::text where ${$.email}::text is not null
    ), ${reserveKey($, { precondition, response })}, recipient_once as (
      select id, email from recipient where exists (select from reservation where fresh)
    ), ${enqueue(event, [toSubscribers(event), byEmail(event, sql`recipient_once.email`, sql`${$.id}::uuid`)])}
    select fresh, same, response from reservation`;
};

/**
 * Enqueues an email with the id `id`, to the user or the address, and a webhook for every subscribed endpoint. Throws
 * AppError `validation-failed` if the user does not exist.
 */
export const createNotification = creating('notifications.create', buildCreate, () => {
  const errors = [{ detail: 'there is no such user', pointer: '#/userId' }];
  return new AppError('validation-failed', 'There is no such user.', { errors });
});

/** A notification, and who acts on it. */
type By = { id: string; sub: string };
type Changed = { found: boolean } & Joined<Notification>;

// The returned row is built from the statement's inputs: a statement cannot see its own writes.
const redrive = statement<By, Changed>(
  'notifications.redrive',
  ($) => sql`
    with n as (
      select * from ${notifications} where id = ${$.id}::uuid
    ), revived as (
      delete from ${outcomes} o using n where o.notification_id = n.id and o.status = 'dead'
      returning o.*
    ), kept as (
      insert into ${attempts} (notification_id, at, duration_ms, status, error, dispatcher)
      select notification_id, finished_at - duration_ms * interval '1 millisecond', duration_ms, http_status,
             last_error, dispatcher
      from revived where duration_ms is not null
    ), queued as (
      insert into ${deliveries} (notification_id, endpoint_id, message_id, due_at, bytes)
      select n.id, n.endpoint_id, n.message_id, now(), octet_length(m.body)
      from n join revived on revived.notification_id = n.id join ${messages} m on m.id = n.message_id
      returning due_at, notification_id as id
    ), ${record('notification.redrive', $.sub, sql`queued`)}
    select exists (select from n) as found, changed.* from (select) one left join (
      select n.id, m.type, n.channel, 'pending' as status, n.user_id as "userId", n.endpoint_id as "endpointId",
             0 as attempts, ${rfc3339(sql`queued.due_at`)} as "dueAt", null::text as "sentAt",
             revived.last_error as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"
      from n join ${messages} m on m.id = n.message_id, queued, revived
    ) changed on true`,
);

/** Redrives a dead notification: due at once, with no attempts. Throws AppError `not-found`, `conflict`. */
export async function redriveNotification(db: Db, by: By, signal: AbortSignal): Promise<Notification> {
  return changedNotification(await db.run(redrive, by, signal), 'Only a dead notification can be redriven.');
}

// A leased delivery may be in progress, and cannot be canceled until its lease ends.
const cancel = statement<By, Changed>(
  'notifications.cancel',
  ($) => sql`
    with n as (
      select * from ${notifications} where id = ${$.id}::uuid
    ), dropped as (
      delete from ${deliveries} d using n
      where d.notification_id = n.id and (d.lease is null or d.due_at <= now())
      returning d.attempt, (
        select error from ${attempts} a where a.notification_id = d.notification_id order by a.at desc limit 1
      ) as error
    ), finished as (
      insert into ${outcomes} (notification_id, status, attempts, last_error, finished_at)
      select n.id, 'canceled', dropped.attempt, dropped.error, now() from n, dropped
      returning notification_id as id
    ), ${record('notification.cancel', $.sub, sql`finished`)}
    select exists (select from n) as found, changed.* from (select) one left join (
      select n.id, m.type, n.channel, 'canceled' as status, n.user_id as "userId", n.endpoint_id as "endpointId",
             dropped.attempt as attempts, null::text as "dueAt", null::text as "sentAt",
             dropped.error as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"
      from n join ${messages} m on m.id = n.message_id, dropped
    ) changed on true`,
);

/** Cancels a pending notification. Throws AppError `not-found`, `conflict`. */
export async function cancelNotification(db: Db, by: By, signal: AbortSignal): Promise<Notification> {
  const refused = 'Only a pending notification that is not being delivered this moment can be canceled.';
  return changedNotification(await db.run(cancel, by, signal), refused);
}

/**
 * Redrives or cancels all of these in one transaction, and returns how many it changed. The others are left as they
 * are.
 */
export async function changeNotifications(
  db: Db,
  bulk: Bulk,
  { ids, sub }: { ids: readonly string[]; sub: string },
  signal: AbortSignal,
): Promise<number> {
  // Always in the same order, so that two such changes cannot deadlock.
  const each = [...ids].sort().map((id) => bind(bulk === 'redrive' ? redrive : cancel, { id, sub }));
  const results = each.length > 0 ? await db.batch(each, signal) : [];
  return results.flat().filter(({ id }) => id !== null).length;
}

function changedNotification([row]: Changed[], refused: string): Notification {
  if (!row?.found) throw noSuch('notification');
  if (row.id === null) throw new AppError('conflict', refused);
  const { found: _, ...view } = row;
  return view;
}
