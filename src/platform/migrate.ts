import { fileURLToPath } from 'node:url';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import pg from 'pg';

/** Where drizzle-kit keeps the generated migrations. */
export const MIGRATIONS = fileURLToPath(new URL('../../drizzle', import.meta.url));

/** Milliseconds for opening the connection, and for a lock: otherwise requests queue behind the migration. */
export const CONNECT_MS = 10_000;
const LOCK_MS = 5000;

/** The key of the lock that lets one process migrate at a time. The value is arbitrary. */
const LOCK = 7_260_501;

/** Called before each statement and after the last one, with the number of statements done and the total. */
export type OnStatement = (done: number, total: number) => void;

/** Applies missing migrations in one transaction, over TCP (Neon too), through any pooler, one process at a time. */
export async function migratePostgres(url: string, directory?: string, report?: OnStatement): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'keelson-migrate',
    connectionTimeoutMillis: CONNECT_MS,
  });
  await client.connect();
  try {
    await client.query('begin');
    // A session lock would stay with the connection that a pooler lent for this statement.
    await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
    await client.query(`set local lock_timeout = ${LOCK_MS}`);
    await applyMigrations((text, values) => client.query(text, values), directory, report);
    await client.query('commit');
  } finally {
    await client.end();
  }
}

type Query = (text: string, values?: unknown[]) => Promise<{ rows: unknown[] }>;

/**
 * Applies the migrations that the database does not have, in the order of the journal. Call it in a transaction.
 * Replaces drizzle's `migrate`, which skips migrations older than the latest applied one, as a merged one may be.
 */
export async function applyMigrations(query: Query, directory = MIGRATIONS, report?: OnStatement): Promise<void> {
  await query('create schema if not exists drizzle');
  await query(`create table if not exists drizzle.__drizzle_migrations (
    id serial primary key, hash text not null, created_at bigint)`);
  const { rows } = await query('select created_at::text as time from drizzle.__drizzle_migrations');
  const applied = new Set((rows as { time: string }[]).map(({ time }) => Number(time)));
  const missing = readMigrationFiles({ migrationsFolder: directory }).filter((file) => !applied.has(file.folderMillis));
  const total = missing.flatMap(({ sql }) => sql).length;
  let done = 0;
  for (const { folderMillis, hash, sql } of missing) {
    for (const statement of sql) {
      report?.(done++, total);
      await query(statement);
    }
    await query('insert into drizzle.__drizzle_migrations (hash, created_at) values ($1, $2)', [hash, folderMillis]);
  }
  if (total > 0) report?.(total, total);
}
