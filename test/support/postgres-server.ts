// The server that the tests share; tests that stop or freeze a server start their own: cluster.ts.
import { migratePostgres } from '../../src/platform/migrate.ts';
import { type Cluster, queryOn, startCluster } from './cluster.ts';

export { freePort, NOT_AS_ROOT } from './cluster.ts';

/** The environment variable with the server's URL: `postgres://…/`, to which a database name is appended. */
const POSTGRES_URL = 'TEST_POSTGRES_URL';
/** A migrated database that tests copy. */
export const TEMPLATE = 'keelson_template';

type PostgresServer = Pick<Cluster, 'freeze' | 'thaw' | 'restartAsStandby'> & { pid: number; stop(): Promise<void> };

/** Starts a throwaway Postgres and sets TEST_POSTGRES_URL. With `durable`, it syncs to disk as a real one does. */
export async function startPostgres({ durable = false } = {}): Promise<PostgresServer> {
  const cluster = await startCluster({ durable });
  process.env[POSTGRES_URL] = cluster.url;
  await query('postgres', `create database ${TEMPLATE}`);
  await migratePostgres(databaseUrl(TEMPLATE));
  const { freeze, thaw, restartAsStandby, remove } = cluster;
  return { pid: cluster.pid(), freeze, thaw, restartAsStandby, stop: remove };
}

/** The URL of a database on the test server. */
export function databaseUrl(name: string): string {
  const base = process.env[POSTGRES_URL];
  if (!base) throw new Error(`${POSTGRES_URL} is not set: run the tests with npm test`);
  return base + name;
}

/** Runs SQL on a connection of its own, as an operator would. */
export function query(database: string, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  return queryOn(databaseUrl(database), sql, values);
}
