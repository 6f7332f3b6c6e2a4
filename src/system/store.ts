import { sql } from 'drizzle-orm';
import journal from '../../drizzle/meta/_journal.json' with { type: 'json' };
import { type Db, DbError, oneRow, statement } from '../db.ts';
import { keyIdsOf, webhookEndpoints } from '../outbox/schema.ts';

const MIGRATIONS = journal.entries.map((entry) => entry.when).join();

/**
 * The state of the database. `schemaIsCurrent`: it has every migration of this code, and perhaps later ones.
 * `writable`: it accepts writes, unlike a standby. `keysOpen`: the keys open a webhook secret, or none is sealed.
 * `unopened`: how many of the oldest endpoints have a secret that the keys do not open.
 */
export type State = { schemaIsCurrent: boolean; writable: boolean; keysOpen: boolean; unopened: number };

// A secret that is not sealed names no key and needs none. All endpoints are searched only if the keys open no secret
// of the oldest ones.
const state = statement<{ migrations: string; keyIds: string; oldest: number; keysOpen: boolean }, State>(
  'system.state',
  ($) => {
    const known = sql`string_to_array(',' || ${$.keyIds}::text, ',')`;
    return sql`
    with oldest as materialized (
      select ${keyIdsOf(sql`e`)} as ids from ${webhookEndpoints} e order by id limit ${$.oldest}::int
    )
    select not exists (
        select unnest(string_to_array(${$.migrations}::text, ',')::bigint[])
        except select created_at from drizzle.__drizzle_migrations
      ) as "schemaIsCurrent",
      current_setting('transaction_read_only') = 'off' as writable,
      case when ${$.keysOpen}::boolean or exists (select from oldest where ids && ${known}) or not exists (select from oldest) then true
        else exists (select from ${webhookEndpoints} e where ${keyIdsOf(sql`e`)} && ${known}) end as "keysOpen",
      (select count(*) from oldest where not ids <@ ${known})::int as unopened`;
  },
);

/** SQLSTATEs of missing tables and columns, which a pending migration creates. */
const UNDEFINED = ['42P01', '42703'];

/**
 * Returns the state of the database, with `unopened` counted over the `oldest` endpoints. Pass `keysOpen` if an earlier
 * call returned true for the same keys: it is then not checked again.
 */
export async function stateOf(
  db: Db,
  { keyIds, oldest = 1, keysOpen = false }: { keyIds: readonly string[]; oldest?: number; keysOpen?: boolean },
  signal: AbortSignal,
): Promise<State> {
  try {
    return await oneRow(db, state, { migrations: MIGRATIONS, keyIds: keyIds.join(), oldest, keysOpen }, signal);
  } catch (error) {
    if (!(error instanceof DbError && UNDEFINED.includes(error.sqlState ?? ''))) throw error;
    return { schemaIsCurrent: false, writable: true, keysOpen: true, unopened: 0 };
  }
}
