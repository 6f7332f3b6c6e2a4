import { type SQL, sql } from 'drizzle-orm';
import { type Db, type Params, rfc3339, type Statement, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import type { Of } from '../fields.ts';
import { type ReservationValues, reserveKey } from '../idempotency/reserve-key.ts';
import { byEmail, enqueue, queuedAnswer, toSubscribers } from '../outbox/enqueue.ts';
import { attempts, deliveries, messages, notifications, outcomes } from '../outbox/schema.ts';
import { creating, noSuch } from '../table-store.ts';
import { users } from '../users/schema.ts';
import type { Notification, NotificationWithAttempts } from './schema.ts';

// The view, from n (notification), m (message), o (outcome, if finished) and d (delivery, if pending). A finished
// notification has no delivery, so that the queue is not read.
const fields = sql`
  n.id, m.type, n.channel, coalesce(o.status, 'pending') as status, n.user_id as "userId",
  n.endpoint_id as "endpointId", coalesce(o.attempts, d.attempt, 0) as attempts, ${rfc3339(sql`d.due_at`)} as "dueAt",
  case when o.status = 'sent' then ${rfc3339(sql`o.finished_at`)} end as "sentAt",
  coalesce(o.last_error, last.error) as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"`;
const details = sql`
  join ${messages} m on m.id = n.message_id
  left join lateral (
    select attempt, due_at from ${deliveries} where notification_id = n.id and o.notification_id is null
  ) d on true
  left join lateral (
    select error from ${attempts} where notification_id = n.id and o.notification_id is null order by at desc limit 1
  ) last on true`;
const ended = sql`left join ${outcomes} o on o.notification_id = n.id`;

// The last attempt is stored in the outcome; here as a row of attempts.
const lastAttempt = sql`
  select finished_at - duration_ms * interval '1 millisecond', duration_ms, http_status, last_error from ${outcomes}`;

const find = statement<{ id: string }, Of<typeof NotificationWithAttempts>>(
  'notifications.findWhole',
  ($) => sql`
    select ${fields}, m.body as payload, (
      select coalesce(json_agg(json_build_object(
        'at', ${rfc3339(sql`a.at`)}, 'durationMs', a.duration_ms, 'status', a.status, 'error', a.error
      ) order by a.at), '[]')
      from (
        select at, duration_ms, status, error from ${attempts} where notification_id = n.id
        union all ${lastAttempt} where notification_id = n.id and duration_ms is not null
      ) a
    ) as "attemptLog"
    from ${notifications} n ${ended} ${details}
    where n.id = ${$.id}::uuid`,
  'reads',
);

/** With its attempts, in order. Throws AppError `not-found`. */
export async function findNotification(db: Db, id: string, signal: AbortSignal) {
  const [row] = await db.run(find, { id }, signal);
  if (!row) throw noSuch('notification');
  return row;
}

/** Undefined filters match everything. */
export type Filters = {
  status?: Notification['status'] | undefined;
  userId?: string | undefined;
  channel?: Notification['channel'] | undefined;
};

type ListValues = { before: string; limit: number; userId: string | null };

// One statement per combination of filters, so that each uses its own index. Status and channel are literals: a generic
// plan could not tell a rare value from a common one.
const lists = new Map<string, Statement<ListValues, Notification>>();

function listFor({ status, userId, channel }: Filters): Statement<ListValues, Notification> {
  const name = ['notifications.list', status, userId && 'user', channel].filter(Boolean).join('.');
  const known = lists.get(name);
  if (known) return known;
  const made = statement<ListValues, Notification>(name, ($) => {
    const where = [sql`n.id < ${$.before}::uuid`];
    if (userId) where.push(sql`n.user_id = ${$.userId}::uuid`);
    if (channel) where.push(sql`n.channel = ${sql.raw(`'${channel}'`)}`);
    return sql`
      select ${fields} from ${sourceFor(status)} ${details}
      where ${sql.join(where, sql` and `)}
      order by n.id desc limit ${$.limit}::int`;
  });
  lists.set(name, made);
  return made;
}

function sourceFor(status: Filters['status']): SQL {
  if (status === undefined) return sql`${notifications} n ${ended}`;
  if (status === 'pending') {
    return sql`${deliveries} q join ${notifications} n on n.id = q.notification_id
      left join ${outcomes} o on false`;
  }
  return sql`${outcomes} o join ${notifications} n
    on n.id = o.notification_id and o.status = ${sql.raw(`'${status}'`)}`;
}

const AFTER_ALL = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** Newest first, before the id `after`; one more than `limit` where there are more. */
export async function listNotifications(
  db: Db,
  { after, limit, ...filters }: Filters & { after: string | null; limit: number },
  signal: AbortSignal,
): Promise<Notification[]> {
  const { userId = null } = filters;
  return db.run(listFor(filters), { before: after ?? AFTER_ALL, limit: limit + 1, userId }, signal);
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

type Changed = { found: boolean } & (Notification | { [K in keyof Notification]: null });

// The returned row is built from the statement's inputs: a statement cannot see its own writes.
const redrive = statement<{ id: string }, Changed>(
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
      insert into ${deliveries} (notification_id, endpoint_id, due_at, bytes)
      select n.id, n.endpoint_id, now(), octet_length(m.body)
      from n join revived on revived.notification_id = n.id join ${messages} m on m.id = n.message_id
      returning due_at
    )
    select exists (select from n) as found, changed.* from (select) one left join (
      select n.id, m.type, n.channel, 'pending' as status, n.user_id as "userId", n.endpoint_id as "endpointId",
             0 as attempts, ${rfc3339(sql`queued.due_at`)} as "dueAt", null::text as "sentAt",
             revived.last_error as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"
      from n join ${messages} m on m.id = n.message_id, queued, revived
    ) changed on true`,
);

/** Redrives a dead notification: due at once, with no attempts. Throws AppError `not-found`, `conflict`. */
export async function redriveNotification(db: Db, id: string, signal: AbortSignal): Promise<Notification> {
  return changedNotification(await db.run(redrive, { id }, signal), 'Only a dead notification can be redriven.');
}

// A leased delivery may be in progress, and cannot be canceled until its lease ends.
const cancel = statement<{ id: string }, Changed>(
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
    )
    select exists (select from n) as found, changed.* from (select) one left join (
      select n.id, m.type, n.channel, 'canceled' as status, n.user_id as "userId", n.endpoint_id as "endpointId",
             dropped.attempt as attempts, null::text as "dueAt", null::text as "sentAt",
             dropped.error as "lastError", ${rfc3339(sql`n.created_at`)} as "createdAt"
      from n join ${messages} m on m.id = n.message_id, dropped
    ) changed on true`,
);

/** Cancels a pending notification. Throws AppError `not-found`, `conflict`. */
export async function cancelNotification(db: Db, id: string, signal: AbortSignal): Promise<Notification> {
  const refused = 'Only a pending notification that is not being delivered this moment can be canceled.';
  return changedNotification(await db.run(cancel, { id }, signal), refused);
}

function changedNotification([row]: Changed[], refused: string): Notification {
  if (!row?.found) throw noSuch('notification');
  if (row.id === null) throw new AppError('conflict', refused);
  const { found: _, ...view } = row;
  return view;
}
