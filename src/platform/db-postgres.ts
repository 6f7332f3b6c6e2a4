import pg from 'pg';
import { type SessionDb, toDbError, unanswered } from '../db.ts';
import type { OpenDb } from './open-db.ts';
import { CANCEL_GRACE_MS, withTimeLimit } from './pg-client.ts';
import { type Connections, cancel, checkOut, closeConnections, openConnections, type PoolOptions } from './pg-pool.ts';
import { type BoundQuery, PreparedQuery } from './prepared-query.ts';
import { createSemaphore } from './semaphore.ts';
import { hasSession } from './session-check.ts';
import { sharedConnections } from './shared-connections.ts';
import { ROLLBACK, type Session, transact, type Work } from './transact.ts';

/**
 * Opens a database through node-postgres over TCP: a pool, statements prepared once per connection, cancellation on the
 * server. A statement settles soon after its signal aborts, whatever the network does.
 */
export function openPostgres(options: PoolOptions): OpenDb<SessionDb> {
  const connections = openConnections(options);
  const { pool } = connections;
  return {
    db: dbOn(connections),
    async hasSessions() {
      const client = await checkOut(connections);
      return hasSession(client, () => new connections.Client()).finally(() => client.release());
    },
    close: () => closeConnections(connections),
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
}

function dbOn(connections: Connections): SessionDb {
  const { pool, poolMax, trust } = connections;
  const host = {
    ...trust,
    checkOut: () => checkOut(connections),
    cancel: (client: pg.Client) => cancel(connections, client),
    contended: (mine: number) => pool.waitingCount > mine,
  };
  // Inserts wait for the disk when they commit, so several commit together. Both kinds give way when a caller needs a
  // connection of its own.
  const together = { statements: 16, connections: Math.ceil(poolMax / 3) };
  const shared = {
    reads: sharedConnections({ depth: 64, connections: 2, writes: false }, host),
    inserts: sharedConnections({ depth: 4, connections: Math.max(1, poolMax - 2), together, writes: true }, host),
  };
  const alone = async (sent: BoundQuery, signal: AbortSignal) => (await runAlone(connections, [sent], signal))[0] ?? [];
  const { run: half } = createSemaphore(() => Math.max(1, Math.floor(poolMax / 2)));
  const ways = {
    ...shared,
    searches: (sent: BoundQuery, signal: AbortSignal) => half(() => alone(sent, signal), signal),
  };
  return {
    // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
    run: ({ name, text, params, shares }, values, signal): Promise<any[]> =>
      (shares ? ways[shares] : alone)({ name, text, params: params(values) }, signal),
    // biome-ignore lint/suspicious/noExplicitAny: the statements' types vouch for their rows
    batch: (statements, signal) => runAlone(connections, statements, signal) as Promise<any>,
    transaction: (work, signal) => transaction(connections, work, signal),
  };
}

async function runAlone(
  connections: Connections,
  sent: readonly BoundQuery[],
  signal: AbortSignal,
): Promise<unknown[][]> {
  const client = await checkOut(connections, signal);
  try {
    return await answer(connections, client, sent, signal);
  } finally {
    // After a cancellation, destroy the connection too: a late cancel must not hit another caller's statement.
    client.release(signal.aborted);
  }
}

async function transaction<T>(connections: Connections, work: Work<T>, signal: AbortSignal): Promise<T> {
  const client = await checkOut(connections, signal);
  let tainted = false;
  const session: Session = {
    async run(sent, either) {
      try {
        return (await answer(connections, client, [sent], either))[0] as unknown[];
      } finally {
        tainted ||= either.aborted;
      }
    },
    async rollback() {
      // The server rolls back what a lost connection had not committed.
      if (tainted || signal.aborted) return;
      const ended = answer(connections, client, [ROLLBACK], signal);
      await withTimeLimit(client, CANCEL_GRACE_MS, ended).catch(() => {
        tainted = true;
      });
    },
  };
  try {
    return await transact(session, work, signal);
  } finally {
    client.release(tainted || signal.aborted);
  }
}

/**
 * Sends statements as one transaction. When the signal aborts, cancels them, and destroys the connection if it then
 * stays silent.
 */
async function answer(
  connections: Connections,
  client: pg.Client,
  sent: readonly BoundQuery[],
  signal: AbortSignal,
): Promise<unknown[][]> {
  const { trust } = connections;
  const query = new Promise<unknown[][]>((resolve, reject) => {
    const answered = (error: Error | null, rows: unknown[][]) => (error ? reject(error) : resolve(rows));
    client.query(new PreparedQuery(sent, answered));
  });
  const onAbort = () => {
    void cancel(connections, client);
    withTimeLimit(client, CANCEL_GRACE_MS, query).catch(() => {});
  };
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const rows = await query;
    trust.responded(client);
    return rows;
  } catch (error) {
    if (error instanceof pg.DatabaseError) {
      trust.responded(client, error);
      throw toDbError(error);
    }
    trust.lost(client, error);
    throw unanswered(error);
  } finally {
    // The signal may outlive the statement, and must not affect the connection's next one.
    signal.removeEventListener('abort', onAbort);
  }
}
