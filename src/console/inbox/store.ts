import { sql } from 'drizzle-orm';
import { type Db, rfc3339, statement } from '../../db.ts';
import { idempotencyKeys } from '../../idempotency/schema.ts';
import { messages, notifications, outcomes, webhookEndpoints } from '../../outbox/schema.ts';
import { AFTER_ALL } from '../../table-store.ts';

// A received webhook is a row of idempotency_keys, like a sign-in link, under a route that no request has: all
// processes and isolates show the same without another table, and it is pruned with the others. `response` has two
// lines of JSON: lists show the first, only the webhook's page the second. `fingerprint` is the webhook-id, or the
// row's own key if there is none.
const ARRIVED = sql`subject = 'console' and route like 'inbox:%'`;
const OF_NAME = (name: unknown) => sql`subject = 'console' and route = 'inbox:' || ${name}::text`;
/** How many webhooks are kept, across all names, and how many of them a page lists. */
const MAX_KEPT = sql.raw('200');
const LISTED = sql.raw('50');

/** What lists show of a webhook. `failure` is why it is not verified; `answer` is the answer it got, in words. */
export type Arrived = {
  at: string;
  type: string | null;
  webhookId: string | null;
  endpointId: string | null;
  failure: string | null;
  answer: string;
};
type Contents = { headers: [name: string, value: string][]; body: string };
/** `attempt` is its number among the kept webhooks with the same webhook-id. */
export type Received = Arrived & { id: string; attempt: number };

/** The answer that was chosen for a name. */
export type Choice = { answer: string; retryAfterS: number };
/** An endpoint that points to a name. The secret is sealed. */
type Pointing = { id: string; url: string; status: 'enabled' | 'paused' | 'disabled'; secret: string };

const about = statement<{ name: string }, { choice: string | null; endpoints: Pointing[] }>(
  'console.inbox.about',
  ($) => sql`
    select (
      select response from ${idempotencyKeys} where subject = 'console' and route = 'inbox' and key = ${$.name}::text
    ) as choice, (
      select coalesce(json_agg(json_build_object('id', id, 'url', url, 'status', status, 'secret', secret)), '[]')
      from (
        select id, url, status, secret from ${webhookEndpoints}
        where split_part(url, '?', 1) like '%/console/inbox/' || ${$.name}::text order by id limit 10
      ) e
    ) as endpoints`,
  'reads',
);

/** Returns the answer that was chosen for a name, if any, and at most ten endpoints that point to it. */
export async function aboutName(db: Db, name: string, signal: AbortSignal) {
  const [row] = await db.run(about, { name }, signal);
  const choice = row?.choice ? (JSON.parse(row.choice) as Choice) : undefined;
  return { choice, endpoints: row?.endpoints ?? [] };
}

const choose = statement<{ name: string; choice: string }, never>(
  'console.inbox.choose',
  ($) => sql`
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    values ('console', 'inbox', ${$.name}::text, '', uuid_v7(), ${$.choice}::text, now())
    on conflict (subject, route, key) do update set response = excluded.response, created_at = excluded.created_at`,
);

/** Chooses the answer for a name. It is pruned with the webhooks of that day. */
export async function chooseAnswer(db: Db, name: string, choice: Choice, signal: AbortSignal): Promise<void> {
  await db.run(choose, { name, choice: JSON.stringify(choice) }, signal);
}

const insert = statement<{ name: string; webhookId: string | null; text: string }, never>(
  'console.inbox.keep',
  ($) => sql`
    with trimmed as (
      delete from ${idempotencyKeys} where ${ARRIVED} and key in (
        select key from ${idempotencyKeys} where ${ARRIVED} order by key desc offset ${MAX_KEPT} - 1 for update skip locked
      )
    )
    insert into ${idempotencyKeys} (subject, route, key, fingerprint, holder, response, created_at)
    select 'console', 'inbox:' || ${$.name}::text, id, coalesce(${$.webhookId}::text, id), uuid_v7(), ${$.text}::text, now()
    from (select uuid_v7()::text as id) new`,
);

/** Stores a webhook that arrived, and deletes the oldest. */
export async function keep(
  db: Db,
  name: string,
  { arrived, contents }: { arrived: Arrived; contents: Contents },
  signal: AbortSignal,
): Promise<void> {
  const text = `${JSON.stringify(arrived)}\n${JSON.stringify(contents)}`;
  await db.run(insert, { name, webhookId: arrived.webhookId, text }, signal);
}

const list = statement<{ name: string }, { id: string; text: string; attempt: number }>(
  'console.inbox.list',
  ($) => sql`
    select key as id, split_part(response, E'\n', 1) as text,
           row_number() over (partition by fingerprint order by key)::int as attempt
    from ${idempotencyKeys} where ${OF_NAME($.name)} order by key desc limit ${LISTED}`,
  'reads',
);

/** The last webhooks that arrived at a name, the newest first. */
export async function listReceived(db: Db, name: string, signal: AbortSignal): Promise<Received[]> {
  const rows = await db.run(list, { name }, signal);
  return rows.map(({ id, text, attempt }) => ({ id, attempt, ...(JSON.parse(text) as Arrived) }));
}

const find = statement<{ name: string; id: string }, { text: string; attempt: number }>(
  'console.inbox.find',
  ($) => sql`
    select response as text, (
      select count(*)::int from ${idempotencyKeys}
      where ${OF_NAME($.name)} and fingerprint = k.fingerprint and key <= k.key
    ) as attempt
    from ${idempotencyKeys} k where ${OF_NAME($.name)} and key = ${$.id}::text`,
  'reads',
);

/** Returns one of them, with its headers and its body. */
export async function findReceived(db: Db, name: string, id: string, signal: AbortSignal) {
  const [row] = await db.run(find, { name, id }, signal);
  if (!row) return undefined;
  const [arrived = '', contents = ''] = row.text.split('\n');
  const received: Received = { id, attempt: row.attempt, ...(JSON.parse(arrived) as Arrived) };
  return { received, ...(JSON.parse(contents) as Contents) };
}

/** A name that webhooks arrived at, or that an endpoint points to. */
export type Name = { name: string; count: number; last: string | null };

const names = statement<object, Name>(
  'console.inbox.names',
  () => sql`
    with arrived as (
      select substr(route, 7) as name, count(*)::int as count, max(created_at) as last
      from ${idempotencyKeys} where ${ARRIVED} group by 1
    ), pointed as (
      select distinct substring(split_part(url, '?', 1) from '/console/inbox/([a-z0-9-]{1,40})$') as name
      from ${webhookEndpoints} where url like '%/console/inbox/%'
    )
    select name, coalesce(count, 0) as count, ${rfc3339(sql`last`)} as last
    from arrived full join pointed using (name) where name is not null
    order by last desc nulls last, name limit ${LISTED}`,
  'reads',
);

export const listNames = (db: Db, signal: AbortSignal): Promise<Name[]> => db.run(names, {}, signal);

/** An email as it was enqueued. Its subject and text are created from `body`. */
export type Email = { id: string; recipient: string; body: string; status: string; createdAt: string };

const EMAILS = sql`
  select n.id, n.recipient, m.body, coalesce(o.status, 'pending') as status, ${rfc3339(sql`n.created_at`)} as "createdAt"
  from ${notifications} n join ${messages} m on m.id = n.message_id
  left join ${outcomes} o on o.notification_id = n.id
  where n.channel = 'email'`;

const emails = statement<{ before: string; limit: number }, Email>(
  'console.inbox.emails',
  ($) => sql`${EMAILS} and n.id < ${$.before}::uuid order by n.id desc limit ${$.limit}::int`,
  'reads',
);

/** Returns emails before the id `after`, newest first: one more than `limit` if there are more. */
export function listEmails(
  db: Db,
  { after, limit }: { after: string | null; limit: number },
  signal: AbortSignal,
): Promise<Email[]> {
  return db.run(emails, { before: after ?? AFTER_ALL, limit: limit + 1 }, signal);
}

const email = statement<{ id: string }, Email>(
  'console.inbox.email',
  ($) => sql`${EMAILS} and n.id = ${$.id}::uuid`,
  'reads',
);

export async function findEmail(db: Db, id: string, signal: AbortSignal): Promise<Email | undefined> {
  const [row] = await db.run(email, { id }, signal);
  return row;
}
