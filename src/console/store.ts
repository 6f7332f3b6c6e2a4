import { sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { idempotencyKeys } from '../idempotency/schema.ts';

// A sign-in link is a row of idempotency_keys, under a route that no request has: it is pruned as the others are.
const LINK = sql`subject = 'console' and route = 'sign-in link'`;
/** Minutes that a link can be used. */
const LINK_MINUTES = 15;

const insertLink = statement<{ code: string; sealed: string }, never>(
  'console.insertLink',
  ($) => sql`
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    values ('console', 'sign-in link', ${$.code}::text, '', uuid_v7(), ${$.sealed}::text, now())`,
);

const takeLink = statement<{ code: string }, { sealed: string }>(
  'console.takeLink',
  ($) => sql`
    delete from ${idempotencyKeys} where ${LINK} and key = ${$.code}::text
      and created_at > now() - interval '${sql.raw(String(LINK_MINUTES))} minutes'
    returning response as sealed`,
);

/** Keeps what a sign-in link leads to, for a quarter of an hour. */
export async function keepLink(db: Db, link: { code: string; sealed: string }, signal: AbortSignal): Promise<void> {
  await db.run(insertLink, link, signal);
}

/** What a sign-in link leads to, once: undefined if it was used, is too old or never was. */
export async function useLink(db: Db, code: string, signal: AbortSignal): Promise<string | undefined> {
  const [row] = await db.run(takeLink, { code }, signal);
  return row?.sealed;
}
