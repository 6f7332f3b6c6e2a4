import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { canceled, DbError, type SessionDb, TIMESTAMPTZ, timestamptz, toDbError, unanswered } from '../db.ts';
import { abortable } from '../http/abortable.ts';
import { lockDirectory } from './lock-directory.ts';
import { applyMigrations, type OnStatement } from './migrate.ts';
import type { OpenDb } from './open-db.ts';
import type { BoundQuery } from './prepared-query.ts';
import { ROLLBACK, type Session, transact } from './transact.ts';

/** Opens Postgres inside this process as openPgliteClient does, to run one statement at a time. */
export async function openPglite(dir: string, report?: OnStatement, copyOf?: Blob): Promise<OpenDb<SessionDb>> {
  const { client, close } = await openPgliteClient(dir, report, copyOf);
  return { db: dbOf(client), close, stats: () => ({ total: 0, idle: 0, waiting: 0 }) };
}

/**
 * Opens the database in `dir`, or in memory for `memory://`, and migrates it, because no other process can. A new
 * database is a copy of `copyOf`, a PGlite dump, if given. Throws if another process has opened the directory.
 */
export async function openPgliteClient(
  dir: string,
  report?: OnStatement,
  copyOf?: Blob,
): Promise<{ client: PGlite; close(): Promise<void> }> {
  const inMemory = dir.startsWith('memory://');
  if (!inMemory) mkdirSync(dir, { recursive: true });
  const unlock = inMemory ? () => {} : lockDirectory(resolve(dir));
  try {
    const client = await PGlite.create(dir, copyOf && { loadDataDir: copyOf });
    await client.transaction((transaction) => applyMigrations(transaction.query.bind(transaction), undefined, report));
    return { client, close: () => client.close().finally(unlock) };
  } catch (error) {
    unlock();
    throw error;
  }
}

const PARSERS = { [TIMESTAMPTZ]: timestamptz };
const noop = () => {};

function dbOf(client: PGlite): SessionDb {
  let last: Promise<unknown> = Promise.resolve();

  /** Queues calls here rather than inside PGlite, where a call whose deadline has passed could not leave the queue. */
  function inTurn<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const before = last;
    const turn = abortable(before, signal).catch(noop);
    const result = turn.then(() => (signal.aborted ? Promise.reject(canceled()) : work()));
    // No value: otherwise each promise would hold the previous one, and so every result ever returned.
    last = Promise.allSettled([before, result]).then(noop);
    return result;
  }

  async function query({ text, params }: BoundQuery): Promise<unknown[]> {
    if (client.closed) throw new DbError('unavailable', 'the database is closed');
    try {
      const { rows } = await client.query(text, [...params], { parsers: PARSERS });
      return rows;
    } catch (error) {
      const failure = toDbError(error);
      // Rows may have been written that could not be synced to disk.
      throw failure.sqlState === undefined ? unanswered(failure) : failure;
    }
  }

  const session: Session = { run: query, rollback: () => query(ROLLBACK).then(noop, noop) };

  const db: SessionDb = {
    run: ({ name, text, params }, values, signal) =>
      inTurn(signal, () => {
        const rows = query({ name, text, params: params(values) });
        // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
        return rows as Promise<any[]>;
      }),
    batch: (statements, signal) => db.transaction((tx) => tx.batch(statements, signal), signal),
    transaction: (work, signal) => inTurn(signal, () => transact(session, work, signal)),
  };
  return db;
}
