import { fileURLToPath } from 'node:url';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import pg from 'pg';

/** Where drizzle-kit keeps the generated migrations. */
export const MIGRATIONS = fileURLToPath(new URL('../../drizzle', import.meta.url));

/** Names the lock that lets one process migrate at a time; any constant does. */
const LOCK = 7_260_501;

/** Applies missing migrations in one transaction, over TCP (Neon too), through any pooler, one process at a time. */
export async function migratePostgres(url: string, directory?: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'keelson-migrate' });
  await client.connect();
  try {
    await client.query('begin');
    // A session lock would stay with whichever connection a pooler lent for it.
    await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
    await applyMigrations((text, values) => client.query(text, values), directory);
    await client.query('commit');
  } finally {
    await client.end();
  }
}

type Query = (text: string, values?: unknown[]) => Promise<{ rows: unknown[] }>;

/**
 * Applies the migrations that the database does not have, in the order of the journal. Call it in a transaction. In
 * place of drizzle's `migrate`, which skips what is older than the latest applied one, as a merged migration may be.
 */
export async function applyMigrations(query: Query, directory = MIGRATIONS): Promise<void> {
  await query('create schema if not exists drizzle');
  await query(`create table if not exists drizzle.__drizzle_migrations (
    id serial primary key, hash text not null, created_at bigint)`);
  const { rows } = await query('select created_at::text as time from drizzle.__drizzle_migrations');
  const applied = new Set((rows as { time: string }[]).map(({ time }) => Number(time)));
  for (const { folderMillis, hash, sql } of readMigrationFiles({ migrationsFolder: directory })) {
    if (applied.has(folderMillis)) continue;
    for (const statement of sql) await query(statement);
    await query('insert into drizzle.__drizzle_migrations (hash, created_at) values ($1, $2)', [hash, folderMillis]);
  }
}
