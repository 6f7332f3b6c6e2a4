import { fileURLToPath } from 'node:url';
import { drizzle } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';

/** Where drizzle-kit keeps the generated migrations. */
export const MIGRATIONS = fileURLToPath(new URL('../../drizzle', import.meta.url));

/** Names the lock that lets one process migrate at a time; any constant does. */
const LOCK = 7_260_501;

/** Applies what is missing, in one transaction, over TCP (Neon too) and through any pooler, one process at a time. */
export async function migratePostgres(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'keelson-migrate' });
  await client.connect();
  try {
    // A session's lock would stay with whatever connection a pooler lent for it. What drizzle begins is this transaction.
    await client.query('begin');
    await client.query('select pg_advisory_xact_lock($1)', [LOCK]);
    await migrate(drizzle(client), { migrationsFolder: MIGRATIONS });
  } finally {
    await client.end();
  }
}
