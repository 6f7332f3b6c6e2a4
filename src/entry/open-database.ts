import type { Log } from '../deps.ts';
import type { OpenDb } from '../platform/open-db.ts';
import { databaseState } from '../system/store.ts';
import type { Config } from './config.ts';

const NO_SESSIONS =
  'DATABASE_URL leads through a pooler in transaction mode, where connections have no session of their own: ' +
  'set it to the pooler in session mode (PgBouncer: pool_mode = session), or to the port of Postgres itself';

/** Opens the configured database and asks it, so that nothing is served without one. Throws with what to do. */
export async function openDatabase(config: Config, log: Log): Promise<OpenDb> {
  const open = await connect(config, log);
  try {
    if ((await open.hasSessions?.()) === false) throw new Error(NO_SESSIONS);
    // One that is read-only still answers reads, and will not always be: /ready says so.
    if ((await databaseState(open.db, AbortSignal.timeout(config.requestTimeoutMs))).current) return open;
    throw new Error('the database schema is not current: run npm run db:migrate');
  } catch (error) {
    await open.close();
    throw error;
  }
}

// Each driver is loaded where it is used: PGlite alone takes longer to load than the rest.
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

/** Whether the database is reached by Neon's driver over HTTP: on Neon itself, or through a proxy that speaks like it. */
export function speaksNeon({ databaseUrl, databaseFetchEndpoint }: Config): boolean {
  if (databaseUrl.startsWith('pglite:')) return false;
  return databaseFetchEndpoint !== undefined || new URL(databaseUrl).hostname.endsWith('.neon.tech');
}
