import type { Log, SecretBox } from '../deps.ts';
import type { OpenDb } from '../platform/open-db.ts';
import { stateOf } from '../system/store.ts';
import { type Config, NO_KEY_OPENS } from './config.ts';

/** The number of endpoints whose secrets are checked at start. */
const OLDEST = 1000;

const NO_SESSIONS =
  'DATABASE_URL leads through a pooler in transaction mode, where connections have no session of their own: ' +
  'set it to the pooler in session mode (PgBouncer: pool_mode = session), or to the port of Postgres itself';

/** Opens and checks the configured database. Throws with a message that says what to do. */
export async function openDatabase(config: Config, secrets: SecretBox, log: Log): Promise<OpenDb> {
  const open = await connect(config, log);
  try {
    if ((await open.hasSessions?.()) === false) throw new Error(NO_SESSIONS);
    const asked = { keyIds: await secrets.keyIds(), oldest: OLDEST };
    const state = await stateOf(open.db, asked, AbortSignal.timeout(config.requestTimeoutMs));
    // A read-only database still serves reads, and may become writable: /ready reports it.
    if (!state.schemaIsCurrent) throw new Error('the database schema is not current: run npm run db:migrate');
    if (!state.keysOpen) throw new Error(NO_KEY_OPENS);
    if (state.unopened > 0) {
      log.warn('webhook secrets do not open: a key is missing in SECRETS_KEYS_OLD', { endpoints: state.unopened });
    }
    return open;
  } catch (error) {
    await open.close();
    throw error;
  }
}

// A driver is loaded only if it is used: PGlite takes longer to load than everything else.
async function connect(config: Config, log: Log): Promise<OpenDb> {
  const { databaseUrl: url, databasePoolMax: poolMax, requestTimeoutMs: statementTimeoutMs } = config;
  if (url.startsWith('pglite:')) {
    const { openPglite } = await import('../platform/db-pglite.ts');
    return openPglite(url.slice('pglite:'.length));
  }
  if (speaksNeon(config)) {
    const { openNeon } = await import('../platform/db-neon.ts');
    return openNeon({ url, fetchEndpoint: config.databaseFetchEndpoint, statementTimeoutMs });
  }
  const { openPostgres } = await import('../platform/db-postgres.ts');
  return openPostgres({ url, poolMax, statementTimeoutMs, log });
}

/** Whether to use Neon's driver over HTTP: for Neon, or for a proxy with the same protocol. */
export function speaksNeon({ databaseUrl, databaseFetchEndpoint }: Config): boolean {
  if (databaseUrl.startsWith('pglite:')) return false;
  return databaseFetchEndpoint !== undefined || new URL(databaseUrl).hostname.endsWith('.neon.tech');
}
