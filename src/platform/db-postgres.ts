import pg from 'pg';
import { type Db, toDbError, withoutAnswer } from '../db.ts';
import type { OpenDb } from './open-db.ts';
import { attempt, CANCEL_GRACE_MS } from './pg-client.ts';
import { type Connections, cancel, checkOut, closeConnections, openConnections, type PoolOptions } from './pg-pool.ts';
import { hasSession } from './pooling.ts';
import { PreparedQuery, type Sent } from './prepared-query.ts';
import { sharedConnections } from './shared-connections.ts';

/**
 * node-postgres over TCP: a pool, statements prepared once per connection, and cancellation on the server. A statement
 * settles soon after its signal aborts, whatever the network does.
 */
export function openPostgres(options: PoolOptions): OpenDb {
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

function dbOn(connections: Connections): Db {
  const { pool, poolMax, trust } = connections;
  const host = {
    ...trust,
    checkOut: () => checkOut(connections),
    cancel: (client: pg.Client) => cancel(connections, client),
    contended: () => pool.waitingCount > 0,
  };
  // Inserts wait for the disk, and several commits share one wait: the more connections, the more do. Both kinds give
  // way where somebody needs a connection of their own.
  const shared = {
    reads: sharedConnections({ depth: 64, connections: 2, writes: false }, host),
    inserts: sharedConnections({ depth: 4, connections: Math.max(1, poolMax - 2), writes: true }, host),
  };
  return {
    run({ name, text, params, shares }, values, signal) {
      const sent = { name, text, params: params(values) };
      const rows = shares ? shared[shares](sent, signal) : runAlone(connections, sent, signal);
      // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
      return rows as Promise<any[]>;
    },
  };
}

async function runAlone(connections: Connections, sent: Sent, signal: AbortSignal): Promise<unknown[]> {
  const client = await checkOut(connections, signal);
  try {
    return await answer(connections, client, sent, signal);
  } finally {
    // After a cancellation the connection goes too: a late cancel must not hit someone else's statement.
    client.release(signal.aborted);
  }
}

/** Sends a statement on its own; once the signal aborts it is cancelled, and then destroyed if it stays silent. */
async function answer(
  connections: Connections,
  client: pg.Client,
  sent: Sent,
  signal: AbortSignal,
): Promise<unknown[]> {
  const { trust } = connections;
  const query = new Promise<unknown[]>((resolve, reject) => {
    const answered = (error: Error | null, rows: unknown[]) => (error ? reject(error) : resolve(rows));
    client.query(new PreparedQuery(sent, answered));
  });
  const onAbort = () => {
    void cancel(connections, client);
    attempt(client, CANCEL_GRACE_MS, query).catch(() => {});
  };
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const rows = await query;
    trust.heard(client);
    return rows;
  } catch (error) {
    if (error instanceof pg.DatabaseError) {
      trust.heard(client, error);
      throw toDbError(error);
    }
    trust.lost(client, error);
    throw withoutAnswer(error);
  } finally {
    // The signal may outlive the statement, and the connection's next one is none of its business.
    signal.removeEventListener('abort', onAbort);
  }
}
