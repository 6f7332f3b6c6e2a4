import { type SQL, sql } from 'drizzle-orm';
import { type Db, type Params, type Statement, statement } from '../db.ts';
import { idempotencyKeys } from './schema.ts';

/**
 * The values of a reservation in a creating statement. `key` is null if the client sent no key. `keyInput` is what a
 * retry must repeat.
 */
export type ReservationValues = {
  keySubject: string;
  keyRoute: string;
  key: string | null;
  keyInput: string;
  keyHolder: string;
  keyResponse: string;
};

/** `fresh`: this statement made the change. `same`: the input equals that of the first request. */
export type ReservationRow = { fresh: boolean; same: boolean; response: string };

/** `response` if it depends on the database: JSON text, an `Answer` of `http/idempotency.ts`. */
type Options = { precondition?: SQL; response?: SQL };

/** How long a key is kept, in hours. */
const KEPT_HOURS = 24;

/**
 * The CTEs `reserved` and `reservation`, which begin a creating statement. It then inserts `from reservation where
 * fresh` and ends with `select fresh, same, response from reservation`. A concurrent duplicate waits on the primary key
 * and gets the committed response. A violated constraint anywhere in the statement rolls the reservation back. If
 * `precondition` does not hold, there is no reservation and no row, except for a retry of an accepted request; then
 * `response` may be null.
 */
export function reserveKey($: Params<ReservationValues>, { precondition, response }: Options = {}): SQL {
  const answer = response ?? sql`${$.keyResponse}::text`;
  // SHA-256 is computed in the database: in WebCrypto, it would cost a thread switch.
  const fingerprint = sql`encode(sha256(convert_to(${$.keyInput}::text, 'UTF8')), 'base64')`;
  const live = sql`${idempotencyKeys}.created_at > now() - interval '${sql.raw(String(KEPT_HOURS))} hours'`;
  const holds = precondition ? sql`and ${precondition}` : sql``;
  // The existing row, for ON CONFLICT to find: the precondition held when its response was created.
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

/**
 * Runs a statement that reserves a key. If its precondition refused it (`isRefused`), runs it once more: it may have
 * waited for the first request with the same key, which it does not see because its snapshot is older.
 */
export async function runReserving<V extends ReservationValues, R>(
  db: Db,
  reserving: Statement<V, R>,
  values: V,
  signal: AbortSignal,
  isRefused: (first: R | undefined) => boolean,
): Promise<R[]> {
  const rows = await db.run(reserving, values, signal);
  return values.key !== null && isRefused(rows[0]) ? db.run(reserving, values, signal) : rows;
}

// Skips a key that is being reused, and rechecks that a key was not reused since the statement began.
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

/** Deletes at most `limit` expired keys, and returns their number. */
export async function pruneIdempotencyKeys(db: Db, limit: number, signal: AbortSignal): Promise<number> {
  const [row] = await db.run(pruneKeys, { limit }, signal);
  return row?.pruned ?? 0;
}
