import { sql } from 'drizzle-orm';
import { type Db, oneRow, statement } from '../db.ts';
import type { SecretBox } from '../deps.ts';
import { BEFORE_ALL } from '../table-store.ts';
import { keyIdsOf, livePrevious, type PreviousSecret, webhookEndpoints } from './schema.ts';

/** Endpoints per batch. */
const BATCH = 500;
/** Milliseconds that a statement may take, including waits for locks. */
export const STATEMENT_MS = 30_000;

/** Numbers of endpoints so far, and the ids of those with a secret that no key opens. */
export type Progress = { looked: number; total: number; resealed: number; unopened: ReadonlySet<string> };

/**
 * Reseals, with the first key of `secrets`, secrets that are sealed with other keys. Yields the progress after each
 * batch. Retries endpoints that change meanwhile. Can be interrupted and restarted at any time.
 */
export async function* resealSecrets(db: Db, secrets: SecretBox, batch = BATCH): AsyncGenerator<Progress> {
  const [keyId = ''] = await secrets.keyIds();
  const total = await countEndpoints(db, inTime());
  const unopened = new Set<string>();
  let [looked, resealed] = [0, 0];
  for (let after = BEFORE_ALL; ; ) {
    const { last, count, sealed } = await sealedEndpoints(db, { after, limit: batch, keyId }, inTime());
    const unopenedHere = new Set<string>();
    const changes = (await Promise.all(sealed.map((endpoint) => resealedOf(endpoint, secrets, unopenedHere)))).flat();
    const written = changes.length > 0 ? await resealEndpoints(db, changes, inTime()) : [];
    resealed += written.filter((id) => !unopenedHere.has(id)).length;
    if (written.length < changes.length) continue;
    looked += count;
    for (const id of unopenedHere) unopened.add(id);
    yield { looked, total: Math.max(looked, total), resealed, unopened };
    if (last === null) return;
    after = last;
  }
}

const inTime = () => AbortSignal.timeout(STATEMENT_MS);

/** Returns the endpoint with every secret that opens resealed, or nothing if none opens. */
async function resealedOf(endpoint: Sealed, secrets: SecretBox, unopened: Set<string>): Promise<Resealed[]> {
  let opened = 0;
  const reseal = async (text: string) => {
    try {
      const anew = await secrets.seal(await secrets.open(text));
      opened++;
      return anew;
    } catch {
      unopened.add(endpoint.id);
      return text;
    }
  };
  const secret = await reseal(endpoint.secret);
  const previous = endpoint.livePrevious.map(async (entry) => ({ ...entry, secret: await reseal(entry.secret) }));
  const { id, secret: secretWas, allPrevious: previousWas } = endpoint;
  const change = { id, secretWas, previousWas, secret, previous: await Promise.all(previous) };
  return opened > 0 ? [change] : [];
}

const count = statement<Record<never, never>, { count: number }>(
  'webhook_endpoints.count',
  () => sql`select count(*)::int as count from ${webhookEndpoints}`,
);

const countEndpoints = async (db: Db, signal: AbortSignal): Promise<number> =>
  (await oneRow(db, count, {}, signal)).count;

/** An endpoint's secrets as they are stored, and those of the previous ones that still sign. */
type Sealed = { id: string; secret: string; allPrevious: PreviousSecret[]; livePrevious: PreviousSecret[] };

const listSealed = statement<
  { after: string; limit: number; keyId: string },
  { last: string; count: number; sealed: Sealed[] | null }
>(
  'webhook_endpoints.sealed',
  ($) => sql`
    select max(id::text) as last, count(*)::int as count, json_agg(json_build_object(
        'id', id, 'secret', secret, 'allPrevious', previous_secrets, 'livePrevious', live
      )) filter (where not ids <@ array[${$.keyId}::text]) as sealed
    from (
      select id, secret, previous_secrets, ${livePrevious(sql`e`)} as live, ${keyIdsOf(sql`e`)} as ids
      from ${webhookEndpoints} e where id > ${$.after}::uuid order by id limit ${$.limit}::int
    ) page`,
);

/**
 * Reads up to `limit` endpoints after the id `after`. Returns those with a secret that signs and is not sealed with the
 * key `keyId`, the number of endpoints read, and the id of the last one, or null if none comes after it.
 */
async function sealedEndpoints(
  db: Db,
  page: { after: string; limit: number; keyId: string },
  signal: AbortSignal,
): Promise<{ last: string | null; count: number; sealed: Sealed[] }> {
  const [row] = await db.run(listSealed, page, signal);
  const { last = null, count = 0, sealed } = row ?? {};
  return { last: count < page.limit ? null : last, count, sealed: sealed ?? [] };
}

/** Secrets to store in place of those that were read. */
type Resealed = {
  id: string;
  secretWas: string;
  previousWas: PreviousSecret[];
  secret: string;
  previous: PreviousSecret[];
};

// Locks in order of id, as others that change several endpoints do.
const reseal = statement<{ changes: string }, { id: string }>(
  'webhook_endpoints.reseal',
  ($) => sql`
    with change as materialized (
      select * from json_to_recordset((${$.changes}::text)::json)
        as c (id uuid, "secretWas" text, "previousWas" jsonb, secret text, previous jsonb)
    ), locked as materialized (
      select id from ${webhookEndpoints} where id in (select id from change) order by id for update
    )
    update ${webhookEndpoints} e set secret = change.secret, previous_secrets = change.previous
    from locked join change on change.id = locked.id
    where e.id = locked.id and e.secret = change."secretWas" and e.previous_secrets = change."previousWas"
    returning e.id`,
);

/** Stores resealed secrets for endpoints whose secrets are still those that were read. Returns the ids of these. */
async function resealEndpoints(db: Db, changes: readonly Resealed[], signal: AbortSignal): Promise<string[]> {
  return (await db.run(reseal, { changes: JSON.stringify(changes) }, signal)).map(({ id }) => id);
}
