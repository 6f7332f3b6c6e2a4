import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { canceled, type Db, DbError, TIMESTAMPTZ, timestamptz, toDbError, withoutAnswer } from '../db.ts';
import { lockDirectory } from './lock-directory.ts';
import { applyMigrations } from './migrate.ts';
import type { OpenDb } from './open-db.ts';

/** Opens Postgres inside this process (see openPgliteClient). Runs one statement at a time. */
export async function openPglite(dir: string): Promise<OpenDb> {
  const { client, close } = await openPgliteClient(dir);
  return { db: dbOf(client), close, stats: () => ({ total: 0, idle: 0, waiting: 0 }) };
}

/**
 * Opens the database in `dir`, or in memory for `memory://`, and migrates it, as no other process can. Throws if another
 * process has opened the directory.
 */
export async function openPgliteClient(dir: string): Promise<{ client: PGlite; close(): Promise<void> }> {
  const inMemory = dir.startsWith('memory://');
  if (!inMemory) mkdirSync(dir, { recursive: true });
  const unlock = inMemory ? () => {} : lockDirectory(resolve(dir));
  try {
    const client = await PGlite.create(dir);
    await client.transaction((transaction) => applyMigrations(transaction.query.bind(transaction)));
    return { client, close: () => client.close().finally(unlock) };
  } catch (error) {
    unlock();
    throw error;
  }
}

const PARSERS = { [TIMESTAMPTZ]: timestamptz };

function dbOf(client: PGlite): Db {
  let last: Promise<unknown> = client.waitReady;
  return {
    run(statement, values, signal) {
      // Statements queue here, not inside PGlite, so that one whose deadline has passed can leave the queue.
      const result = last.then(async () => {
        if (signal?.aborted) throw canceled();
        if (client.closed) throw new DbError('unavailable', 'the database is closed');
        // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
        const { rows } = await client.query<any>(statement.text, statement.params(values), { parsers: PARSERS });
        return rows;
      });
      last = result.catch(() => {});
      return result.catch((error) => {
        const failure = toDbError(error);
        // Rows may be visible that could not be synced to disk.
        throw error === failure || failure.sqlState !== undefined ? failure : withoutAnswer(failure);
      });
    },
  };
}
