import { type SQL, sql } from 'drizzle-orm';
import { type Db, type Params, statement } from '../db.ts';
import { idempotencyKeys } from './schema.ts';

/** What a creating statement takes beside its own values. `claimKey` is null where the client sent no key. */
export type ClaimValues = {
  claimSubject: string;
  claimRoute: string;
  claimKey: string | null;
  claimFingerprint: string;
  claimHolder: string;
  claimResponse: string;
};

/** What it returns: whether this very statement had the effect, and else what the first one answered. */
export type ClaimRow = { fresh: boolean; fingerprint: string; response: string };

/** `response` where it depends on what is in the database: JSON text, as an Answer of `http/idempotency.ts`. */
type Options = { precondition?: SQL; response?: SQL };

/** Hours that a key is kept. */
const KEPT_HOURS = 24;

/**
 * The CTEs `claimed` and `claim`, for the head of a creating statement, which then inserts `from claim where fresh`
 * and ends in `select * from claim`. A duplicate that arrives meanwhile waits on the primary key and gets the
 * committed response; a violated constraint anywhere in the statement takes the claim back with it. Where
 * `precondition` does not hold there is no claim, and no row, but for a repeat of what was once accepted.
 */
export function claim($: Params<ClaimValues>, { precondition = sql`true`, response }: Options = {}): SQL {
  const answer = response ?? sql`${$.claimResponse}::text`;
  const live = sql`${idempotencyKeys}.created_at > now() - interval '${sql.raw(String(KEPT_HOURS))} hours'`;
  const keep = (column: string) =>
    sql`${sql.raw(column)} = case when ${live} then ${idempotencyKeys}.${sql.raw(column)} else excluded.${sql.raw(column)} end`;
  return sql`claimed as (
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    select ${$.claimSubject}::text, ${$.claimRoute}::text, ${$.claimKey}::text, ${$.claimFingerprint}::text,
           ${$.claimHolder}::uuid, ${answer}, now()
    where ${$.claimKey}::text is not null and (${precondition} or exists (
      select from ${idempotencyKeys} k
      where k.subject = ${$.claimSubject}::text and k.route = ${$.claimRoute}::text and k.key = ${$.claimKey}::text
        and k.created_at > now() - interval '${sql.raw(String(KEPT_HOURS))} hours'
    ))
    on conflict (subject, route, key) do update set
      ${sql.join(['fingerprint', 'holder', 'response', 'created_at'].map(keep), sql`, `)}
    returning holder, fingerprint, response
  ), claim as (
    select holder = ${$.claimHolder}::uuid as fresh, fingerprint, response from claimed
    union all
    select true, ${$.claimFingerprint}::text, ${answer}
    where ${$.claimKey}::text is null and ${precondition}
  )`;
}

const pruneKeys = statement<{ limit: number }, { pruned: number }>(
  'idempotency.prune',
  ($) => sql`
    with old as materialized (
      select subject, route, key from ${idempotencyKeys}
      where created_at < now() - interval '${sql.raw(String(KEPT_HOURS))} hours' limit ${$.limit}::int
    ), gone as (
      delete from ${idempotencyKeys} k using old
      where (k.subject, k.route, k.key) = (old.subject, old.route, old.key)
    )
    select count(*)::int as pruned from old`,
);

/** Deletes keys that are kept no longer, up to `limit` of them, and returns how many. */
export async function pruneIdempotencyKeys(db: Db, limit: number): Promise<number> {
  const [row] = await db.run(pruneKeys, { limit });
  return row?.pruned ?? 0;
}
