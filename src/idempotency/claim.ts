import { type SQL, sql } from 'drizzle-orm';
import type { Params } from '../db.ts';
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

/** Hours that a key is kept. */
const KEPT_HOURS = 24;

/**
 * The CTEs `claimed` and `claim`, for the head of a creating statement, which then inserts `from claim where fresh`
 * and ends in `select * from claim`. A duplicate that arrives meanwhile waits on the primary key and gets the
 * committed response; a violated constraint anywhere in the statement takes the claim back with it.
 */
export function claim($: Params<ClaimValues>): SQL {
  const live = sql`${idempotencyKeys}.created_at > now() - interval '${sql.raw(String(KEPT_HOURS))} hours'`;
  const keep = (column: string) =>
    sql`${sql.raw(column)} = case when ${live} then ${idempotencyKeys}.${sql.raw(column)} else excluded.${sql.raw(column)} end`;
  return sql`claimed as (
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    select ${$.claimSubject}::text, ${$.claimRoute}::text, ${$.claimKey}::text, ${$.claimFingerprint}::text,
           ${$.claimHolder}::uuid, ${$.claimResponse}::text, now()
    where ${$.claimKey}::text is not null
    on conflict (subject, route, key) do update set
      ${sql.join(['fingerprint', 'holder', 'response', 'created_at'].map(keep), sql`, `)}
    returning holder, fingerprint, response
  ), claim as (
    select holder = ${$.claimHolder}::uuid as fresh, fingerprint, response from claimed
    union all
    select true, ${$.claimFingerprint}::text, ${$.claimResponse}::text where ${$.claimKey}::text is null
  )`;
}
