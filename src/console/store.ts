import { sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { idempotencyKeys } from '../idempotency/schema.ts';

// A sign-in link is a row of idempotency_keys, under a route that no request has. It is pruned like the others.
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

/** Stores the sealed token of a sign-in link, to be used within 15 minutes. */
export async function keepLink(db: Db, link: { code: string; sealed: string }, signal: AbortSignal): Promise<void> {
  await db.run(insertLink, link, signal);
}

/** Takes a sign-in link's sealed token, once. Undefined if the link was used, has expired or never existed. */
export async function useLink(db: Db, code: string, signal: AbortSignal): Promise<string | undefined> {
  const [row] = await db.run(takeLink, { code }, signal);
  return row?.sealed;
}
