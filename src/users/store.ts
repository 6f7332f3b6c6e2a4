import { type SQL, sql } from 'drizzle-orm';
import { columns, type Db, isUniqueViolation, rfc3339, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import { type ReservationRow, type ReservationValues, reserveKey } from '../idempotency/reserve-key.ts';
import { byEmail, enqueue, toSubscribers } from '../outbox/enqueue.ts';
import { caseless, type User, users } from './schema.ts';

const find = statement<{ id: string }, User>(
  'users.find',
  ($) => sql`select ${columns(users)} from ${users} where id = ${$.id}::uuid`,
  'reads',
);

export async function findUser(db: Db, id: string, signal: AbortSignal): Promise<User | undefined> {
  return (await db.run(find, { id }, signal))[0];
}

const list = statement<{ after: string; limit: number }, User>(
  'users.list',
  ($) => sql`select ${columns(users)} from ${users} where id > ${$.after}::uuid order by id limit ${$.limit}::int`,
  'reads',
);

// A statement of its own: `email = … or … is null` in one would keep the planner from using either index.
const listByEmail = statement<{ after: string; email: string }, User>(
  'users.listByEmail',
  ($) => sql`
    select ${columns(users)} from ${users}
    where ${caseless(users.email)} = ${caseless(sql`${$.email}::text`)} and id > ${$.after}::uuid`,
  'reads',
);

const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

/** Users in order of creation, after the id `after`; one more than `limit` where there are more. */
export async function listUsers(
  db: Db,
  { after, limit, email }: { after: string | null; limit: number; email: string | undefined },
  signal: AbortSignal,
): Promise<User[]> {
  if (email !== undefined) return db.run(listByEmail, { after: after ?? BEFORE_ALL, email }, signal);
  return db.run(list, { after: after ?? BEFORE_ALL, limit: limit + 1 }, signal);
}

// A user as GET shows it, from the CTE `changed`, which holds the row as it now is (or, deleted, last was).
const view = sql`json_build_object('id', changed.id, 'email', changed.email, 'name', changed.name,
  'version', changed.version, 'createdAt', ${rfc3339(sql`changed.created_at`)},
  'updatedAt', ${rfc3339(sql`changed.updated_at`)})`;
const event = { from: sql`changed`, userId: sql`changed.id`, data: view };

const create = statement<{ id: string; email: string; name: string; now: string } & ReservationValues, ReservationRow>(
  'users.create',
  ($) => {
    const created = { ...event, type: sql`'user.created'` };
    return sql`
    with ${reserveKey($)}, changed as (
      insert into ${users} (id, email, name, created_at, updated_at)
      select ${$.id}::uuid, ${$.email}::text, ${$.name}::text, ${$.now}::timestamptz, ${$.now}::timestamptz
      from reservation where fresh
      returning *
    ), ${enqueue(created, [toSubscribers(created), byEmail(created, sql`changed.email`)])}
    select fresh, same, response from reservation`;
  },
  'inserts',
);

/** Creates the user, reserves the idempotency key and queues the notifications. Throws AppError `email-taken`. */
export async function createUser(
  db: Db,
  user: { id: string; email: string; name: string; now: string } & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await db.run(create, user, signal).catch(asEmailTaken);
  if (!row) throw new Error('users.create returned no row');
  return row;
}

type Changed = { found: boolean } & (User | { [K in keyof User]: null });

// Locks the row first, so that "no such user" and "another version" are told apart in one round trip. With it whoever
// has the address that is asked for, in order of ids and, as they are counted, before anything is changed: two who take
// each other's must not wait for one another.
const target = ($: { id: unknown; versions: unknown }, email?: SQL) => sql`locked as materialized (
    select id, version from ${users}
    where id = ${$.id}::uuid ${email ? sql`or ${caseless(users.email)} = ${caseless(email)}` : sql``}
    order by id for update
  ), target as (
    select id, version from locked where id = ${$.id}::uuid and (select count(*) from locked) > 0
  ), matching as (
    select id from target where ${$.versions}::text is null or version = any((${$.versions}::text)::int[])
  )`;
const result = sql`select exists (select from target) as found, ${columns(users, 'changed')}
    from (select) one left join changed on true`;

const update = statement<{ id: string; versions: string | null; email: string; name: string; now: string }, Changed>(
  'users.update',
  ($) => sql`
    with ${target($, sql`${$.email}::text`)}, changed as (
      update ${users} u
      set email = ${$.email}::text, name = ${$.name}::text, version = u.version + 1, updated_at = ${$.now}::timestamptz
      from matching where u.id = matching.id
      returning u.*
    ), ${enqueue({ ...event, type: sql`'user.updated'` })}
    ${result}`,
);

/** Replaces the user where its version is among `versions` (null: any). Throws `not-found`, `precondition-failed`, `email-taken`. */
export async function updateUser(
  db: Db,
  change: { id: string; versions: string | null; email: string; name: string; now: string },
  signal: AbortSignal,
): Promise<User> {
  return changedUser(await db.run(update, change, signal).catch(asEmailTaken));
}

const remove = statement<{ id: string; versions: string | null }, Changed>(
  'users.remove',
  ($) => sql`
    with ${target($)}, changed as (
      delete from ${users} u using matching where u.id = matching.id returning u.*
    ), ${enqueue({ ...event, type: sql`'user.deleted'` })}
    ${result}`,
);

/** Deletes the user where its version is among `versions` (null: any). Throws `not-found`, `precondition-failed`. */
export async function removeUser(db: Db, id: string, versions: string | null, signal: AbortSignal): Promise<void> {
  changedUser(await db.run(remove, { id, versions }, signal));
}

function changedUser([row]: Changed[]): User {
  if (!row?.found) throw new AppError('not-found', 'There is no such user.');
  if (row.id === null) throw new AppError('precondition-failed', 'The user has changed since that version.');
  const { found: _, ...user } = row;
  return user;
}

/** The second goes with 0.3.0. */
const EMAIL_INDEXES = ['users_email_caseless', 'users_email_unique'];

function asEmailTaken(error: unknown): never {
  if (!EMAIL_INDEXES.some((index) => isUniqueViolation(error, index))) throw error;
  throw new AppError('email-taken', 'Another user has this email address.');
}
