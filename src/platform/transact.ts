import { canceled, type Db, DbError } from '../db.ts';
import { abortable } from '../http/abortable.ts';
import type { BoundQuery } from './prepared-query.ts';

/** One connection, used by nothing else in the meantime. */
export type Session = {
  /** Rejects with a DbError. */
  run(sent: BoundQuery, signal: AbortSignal): Promise<unknown[]>;
  /** Undoes what is not committed, by a rollback or by giving up the connection. Never rejects. */
  rollback(): Promise<void>;
};

export type Work<T> = (tx: Db) => Promise<T>;

const plain = (text: string): BoundQuery => ({ name: '', text, params: [] });
const BEGIN = plain('begin isolation level read committed');
const COMMIT = plain('commit');
export const ROLLBACK = plain('rollback');

/** Runs `work` in one transaction on `session`, as described in `SessionDb`. */
export async function transact<T>(session: Session, work: Work<T>, signal: AbortSignal): Promise<T> {
  let failure: DbError | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let over = false;

  async function runNow(sent: BoundQuery, own: AbortSignal): Promise<unknown[]> {
    if (over) throw new DbError('failed', 'the transaction is over');
    // Postgres would not accept further statements either, and would turn the commit into a rollback without an error.
    if (failure) throw failure;
    const either = own === signal ? signal : AbortSignal.any([own, signal]);
    try {
      if (either.aborted) throw canceled();
      return await session.run(sent, either);
    } catch (error) {
      failure = beforeCommit(error as DbError, either);
      throw failure;
    }
  }

  /** Runs statements one after the other, even if `work` does not wait for them. */
  function run(sent: BoundQuery, own: AbortSignal): Promise<unknown[]> {
    const rows = last.then(() => runNow(sent, own));
    last = rows.catch(() => {});
    return rows;
  }

  const tx: Db = {
    run: ({ name, text, params }, values, own) => {
      const rows = run({ name, text, params: params(values) }, own);
      // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
      return rows as Promise<any[]>;
    },
    batch: (statements, own) => {
      const rows = Promise.all(statements.map((statement) => run(statement, own)));
      // biome-ignore lint/suspicious/noExplicitAny: the statements' types vouch for their rows
      return rows as Promise<any>;
    },
  };

  try {
    await run(BEGIN, signal);
    const result = await abortable(work(tx), signal);
    await last;
    if (failure) throw failure;
    if (signal.aborted) throw canceled();
    over = true;
    await session.run(COMMIT, signal);
    return result;
  } catch (error) {
    over = true;
    await last;
    await session.rollback();
    throw signal.aborted && error === signal.reason ? canceled() : error;
  }
}

/** If no commit was sent, nothing was written, whatever happened to the connection. */
function beforeCommit(error: DbError, { aborted }: AbortSignal): DbError {
  if (error.failure !== 'unknown') return error;
  return aborted ? canceled() : new DbError('unavailable', error.message);
}
