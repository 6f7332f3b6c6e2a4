import { sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { reserveKey } from '../idempotency/reserve-key.ts';
import { byEmail, enqueue, toSubscribers } from '../outbox/enqueue.ts';
import { BEFORE_ALL, creating, tableStore } from '../table-store.ts';
import { caseless, type User, type UserInput, UserView, users } from './schema.ts';

const store = tableStore(UserView, 'user');
export const findUser = store.find;

// A separate statement: with `email = … or … is null` the planner would use neither index.
const listByEmail = statement<{ after: string; email: string }, User>(
  'users.listByEmail',
  ($) => sql`
    select ${UserView.columns()} from ${users}
    where ${caseless(users.email)} = ${caseless(sql`${$.email}::text`)} and id > ${$.after}::uuid`,
  'reads',
);

/** Returns users after the id `after`, in order of creation: one more than `limit` if there are more. */
export function listUsers(
  db: Db,
  page: { after: string | null; limit: number; email: string | undefined },
  signal: AbortSignal,
): Promise<User[]> {
  const { after, email } = page;
  return email === undefined
    ? store.list(db, page, signal)
    : db.run(listByEmail, { after: after ?? BEFORE_ALL, email }, signal);
}

// The CTE `changed` has the row after the change or, for a deletion, before it.
const event = { from: sql`changed`, userId: sql`changed.id`, data: UserView.json('changed') };

export const createUser = creating<Omit<User, 'version'>>('users.create', ($) => {
  const created = { ...event, type: sql`'user.created'` };
  return sql`
    with ${reserveKey($)}, changed as (
      insert into ${users} ${store.values($)} from reservation where fresh returning *
    ), ${enqueue(created, [toSubscribers(created), byEmail(created, sql`changed.email`)])}
    select fresh, same, response from reservation`;
});

// Also locks the user who has the address: otherwise, two users who swap addresses would deadlock.
export const updateUser = store.conditional<UserInput & { now: string }>(
  'update',
  ($) => sql`changed as (
      update ${users} u set ${store.assignments($, 'u')} from matching where u.id = matching.id returning u.*
    ), ${enqueue({ ...event, type: sql`'user.updated'` })}`,
  ($) => sql`${caseless(users.email)} = ${caseless(sql`${$.email}::text`)}`,
);

export const removeUser = store.conditional(
  'remove',
  () => sql`changed as (
      delete from ${users} u using matching where u.id = matching.id returning u.*
    ), ${enqueue({ ...event, type: sql`'user.deleted'` })}`,
);
