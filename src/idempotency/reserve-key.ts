import { type SQL, sql } from 'drizzle-orm';
import { type Db, type Params, statement } from '../db.ts';
import { idempotencyKeys } from './schema.ts';

/**
 * What a creating statement takes beside its own values. `key` is null where the client sent no key; `keyInput` is what
 * a repeat must send again.
 */
export type ReservationValues = {
  keySubject: string;
  keyRoute: string;
  key: string | null;
  keyInput: string;
  keyHolder: string;
  keyResponse: string;
};

/** What it returns: whether this very statement had the effect, whether the input is the first one's, and its answer. */
export type ReservationRow = { fresh: boolean; same: boolean; response: string };

/** `response` where it depends on what is in the database: JSON text, as an Answer of `http/idempotency.ts`. */
type Options = { precondition?: SQL; response?: SQL };

/** Hours that a key is kept. */
const KEPT_HOURS = 24;

/**
 * The CTEs `reserved` and `reservation`, for the head of a creating statement, which then inserts
 * `from reservation where fresh` and ends in `select fresh, same, response from reservation`. A duplicate that arrives
 * meanwhile waits on the primary key and gets the committed response; a violated constraint anywhere in the statement
 * takes the reservation back with it. Where `precondition` does not hold there is no reservation, and no row, but for a repeat of
 * what was once accepted; `response` may be null then.
 */
export function reserveKey($: Params<ReservationValues>, { precondition, response }: Options = {}): SQL {
  const answer = response ?? sql`${$.keyResponse}::text`;
  // SHA-256, by the database: on a client it would be a trip to another thread.
  const fingerprint = sql`encode(sha256(convert_to(${$.keyInput}::text, 'UTF8')), 'base64')`;
  const live = sql`${idempotencyKeys}.created_at > now() - interval '${sql.raw(String(KEPT_HOURS))} hours'`;
  const holds = precondition ? sql`and ${precondition}` : sql``;
  // The row as it is, for ON CONFLICT to find it: whatever is missing now, it was there when the answer was made.
  const accepted =
    precondition &&
    sql`
    union all
    select subject, route, key, fingerprint, holder, response, created_at from ${idempotencyKeys}
    where subject = ${$.keySubject}::text and route = ${$.keyRoute}::text and key = ${$.key}::text and ${live}
      and not ${precondition}`;
  const keep = (column: string) =>
    sql`${sql.raw(column)} = case when ${live} then ${idempotencyKeys}.${sql.raw(column)} else excluded.${sql.raw(column)} end`;
  return sql`reserved as (
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    select ${$.keySubject}::text, ${$.keyRoute}::text, ${$.key}::text, ${fingerprint},
           ${$.keyHolder}::uuid, ${answer}, now()
    where ${$.key}::text is not null ${holds} ${accepted ?? sql``}
    on conflict (subject, route, key) do update set
      ${sql.join(['fingerprint', 'holder', 'response', 'created_at'].map(keep), sql`, `)}
    returning holder, fingerprint, response
  ), reservation as (
    select holder = ${$.keyHolder}::uuid as fresh, fingerprint = ${fingerprint} as same, response from reserved
    union all
    select true, true, ${answer}
    where ${$.key}::text is null ${holds}
  )`;
}

// A key that is being taken over this very moment is passed over; one that was, since this began, is not old any more.
const pruneKeys = statement<{ limit: number }, { pruned: number }>('idempotency.prune', ($) => {
  const isOld = sql`created_at < now() - interval '${sql.raw(String(KEPT_HOURS))} hours'`;
  return sql`
    with old as materialized (
      select subject, route, key from ${idempotencyKeys} where ${isOld}
      limit ${$.limit}::int for update skip locked
    ), gone as (
      delete from ${idempotencyKeys} k using old
      where (k.subject, k.route, k.key) = (old.subject, old.route, old.key) and k.${isOld}
    )
    select count(*)::int as pruned from old`;
});

/** Deletes keys that are kept no longer, up to `limit` of them, and returns how many. */
export async function pruneIdempotencyKeys(db: Db, limit: number, signal: AbortSignal): Promise<number> {
  const [row] = await db.run(pruneKeys, { limit }, signal);
  return row?.pruned ?? 0;
}
