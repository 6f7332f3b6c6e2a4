import { randomBytes } from 'node:crypto';
import { after, describe, type TestContext } from 'node:test';
import pg from 'pg';
import { type Db, type SessionDb, toDbError } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import type { OpenDb } from '../../src/platform/open-db.ts';
import { noDb, recordingLog, silent } from './deps.ts';
import { openTestPglite } from './pglite-template.ts';
import { databaseUrl, query, TEMPLATE } from './postgres-server.ts';
import { startProxy } from './proxy.ts';
import { selfSigned } from './self-signed.ts';

/** Creates a migrated Postgres database for this test, or an empty one as `as` specifies; `drop` it afterwards. */
export async function createDatabase(
  as = `template ${TEMPLATE}`,
): Promise<{ name: string; url: string; drop(): Promise<void> }> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await query('postgres', `create database ${name} ${as}`);
  return {
    name,
    url: databaseUrl(name),
    drop: async () => void (await query('postgres', `drop database ${name} with (force)`)),
  };
}

/** Creates a migrated Postgres database for this test, dropped when the test ends. */
export async function ownDatabase(t: TestContext) {
  const database = await createDatabase();
  t.after(() => database.drop());
  return database;
}

type ProxiedOptions = { poolMax?: number; statementTimeoutMs?: number; tls?: boolean };

/** Opens the Postgres adapter on a database of the test's own, which it reaches through a proxy. */
export async function openProxied(
  t: TestContext,
  { poolMax = 10, statementTimeoutMs = 20_000, tls = false }: ProxiedOptions = {},
) {
  const database = await ownDatabase(t);
  const proxy = await startProxy(database.url, tls ? selfSigned() : undefined);
  t.after(() => proxy.close());
  const log = recordingLog();
  const { db, close, stats, hasSessions } = openPostgres({ url: proxy.url, poolMax, statementTimeoutMs, log });
  let closed: Promise<void> | undefined;
  const closeOnce = () => {
    closed ??= close();
    return closed;
  };
  t.after(closeOnce);
  return { database, proxy, log, db, stats, hasSessions, close: closeOnce };
}

/** Takes an advisory lock on a connection of its own; returns a function that releases it. */
export async function holdLock(t: TestContext, url: string, lock: number): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: url, application_name: 'test-lock' });
  // Its database may be dropped while it is connected.
  client.on('error', () => {});
  await client.connect();
  t.after(() => client.end());
  await client.query('select pg_advisory_lock($1)', [lock]);
  return async () => void (await client.query('select pg_advisory_unlock($1)', [lock]));
}

/** Opens a fresh migrated Postgres database. */
export async function openTestPostgres(poolMax = 10): Promise<OpenDb<SessionDb> & { name: string }> {
  const database = await createDatabase();
  const open = openPostgres({ url: database.url, poolMax, statementTimeoutMs: 5000, log: silent });
  return {
    ...open,
    name: database.name,
    close: async () => {
      await open.close();
      await database.drop();
    },
  };
}

/** Opens one connection to a database, for work that must stay uncommitted while others act; `text` runs raw SQL. */
export async function connectTo(
  name: string,
): Promise<{ db: Db; text(sql: string): Promise<Row[]>; close(): Promise<void> }> {
  const client = new pg.Client({ connectionString: databaseUrl(name) });
  // Its server may be killed while it is connected.
  client.on('error', () => {});
  await client.connect();
  return {
    db: {
      ...noDb,
      run: async (statement, values) =>
        (
          await client.query(statement.text, statement.params(values)).catch((error) => {
            throw toDbError(error);
          })
        ).rows,
    },
    text: async (sql) => (await client.query(sql)).rows,
    close: () => client.end(),
  };
}

type Row = Record<string, unknown>;

/** Resolves once `count` statements wait for a lock, or `work` has ended without waiting. */
export async function untilBlocked(name: string, work: Promise<unknown>, count = 1): Promise<void> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  work.then(end, end);
  const blocked = `select 1 from pg_stat_activity where datname = '${name}' and wait_event_type = 'Lock'`;
  while (!ended && (await query(name, blocked)).length < count);
}

/** Opens Neon's driver on a fresh migrated Postgres behind an endpoint that speaks Neon's protocol. */
async function openTestNeon(): Promise<OpenDb> {
  const { url, drop } = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
  const open = openNeon({ url, fetchEndpoint: endpoint.url, statementTimeoutMs: 5000 });
  return { ...open, close: () => endpoint.close().then(drop) };
}

const withSessions = { pglite: openTestPglite, postgres: () => openTestPostgres() };

/** Runs one suite against every driver, each on a migrated database of its own. */
export const onEveryDatabase = suiteOn<Db>({ ...withSessions, neon: openTestNeon });

/** The same for the drivers that have interactive transactions. */
export const onEverySession = suiteOn<SessionDb>(withSessions);

function suiteOn<D extends Db>(drivers: Record<string, () => Promise<OpenDb<D>>>) {
  return (title: string, suite: (db: D) => void): void => {
    for (const [driver, open] of Object.entries(drivers)) {
      describe(`${title} (${driver})`, async () => {
        const database = await open();
        after(() => database.close());
        suite(database.db);
      });
    }
  };
}
