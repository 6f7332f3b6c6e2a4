import pg from 'pg';
import { canceled, DbError, toDbError } from '../db.ts';
import type { Log } from '../deps.ts';
import { abortable } from '../http/abortable.ts';
import { connectionTrust, pgClients, requestCancel, settlesWithin, withTimeLimit } from './pg-client.ts';

/** Milliseconds that requesting a cancellation may take, including connecting. */
const CANCEL_MS = 2000;
/** Milliseconds without an answer after which closing the pool stops waiting. */
const CLOSE_MS = 2000;
/** Sets how a session writes times, and time limits for a statement and for a pause between two in a transaction. */
const sessionSettings = (ms: number) => `set timezone = 'UTC'; set datestyle = 'ISO'; set statement_timeout = ${ms};
  set idle_in_transaction_session_timeout = ${ms}; show transaction_read_only`;
/** The SQLSTATE of a server that has no connections left. */
const TOO_MANY_CONNECTIONS = '53300';
/** Milliseconds after such an answer in which only existing connections are used. */
const GROWTH_PAUSE_MS = 1000;
/** pg-pool's error message when every connection is taken, which is not an outage. */
const POOL_IS_FULL = 'timeout exceeded when trying to connect';

export type PoolOptions = { url: string; poolMax: number; statementTimeoutMs: number; log: Log };

/** A pool of connections, and what is known about their server. */
export type Connections = PoolOptions &
  ReturnType<typeof pgClients> & {
    pool: pg.Pool;
    trust: ReturnType<typeof connectionTrust>;
    /** Connections that are open. */
    connected: number;
    /** How many connections the server allowed when it last refused one. */
    serverLimit: number;
    growsAt: number;
    refusals: number;
  };

/** Opens a pool whose sessions all have the same settings. Connects on first use. */
export function openConnections(options: PoolOptions): Connections {
  const { url, poolMax, statementTimeoutMs, log } = options;
  const clients = pgClients(url, 'keelson');
  class PoolClient extends clients.Client {
    readonly refusalsBefore = connections.refusals;
  }
  const pool = new pg.Pool({
    Client: PoolClient,
    max: poolMax,
    connectionTimeoutMillis: statementTimeoutMs,
    pipeline: true,
    onConnect: (client) => beginSession(connections, client, (client as PoolClient).refusalsBefore),
  });
  const connections: Connections = {
    ...options,
    ...clients,
    pool,
    trust: connectionTrust(log),
    connected: 0,
    serverLimit: Number.POSITIVE_INFINITY,
    growsAt: Number.NEGATIVE_INFINITY,
    refusals: 0,
  };
  pool.on('error', (error, client) => connections.trust.lost(client, error));
  return connections;
}

// Not with the log-in: a pooler refuses settings that it does not know.
async function beginSession(connections: Connections, client: pg.ClientBase, refusalsBefore: number): Promise<void> {
  const { statementTimeoutMs, trust } = connections;
  const settings = client.query(sessionSettings(statementTimeoutMs)) as unknown as Promise<pg.QueryResult[]>;
  const results = await withTimeLimit(client as pg.Client, statementTimeoutMs, settings);
  trust.opened(client as pg.Client, results.at(-1)?.rows[0].transaction_read_only === 'on');
  connections.connected++;
  // One already being opened when another was refused does not show that the server has more.
  const isMore = refusalsBefore === connections.refusals;
  if (connections.connected > connections.serverLimit) {
    connections.serverLimit = isMore ? Number.POSITIVE_INFINITY : connections.connected;
  }
  client.once('end', () => connections.connected--);
}

// At its limit, the pool makes callers wait for a connection.
function limitPool(connections: Connections): void {
  const { pool, log, connected } = connections;
  connections.refusals++;
  if (connections.serverLimit === Number.POSITIVE_INFINITY) {
    log.warn('database gives no more connections', { open: connected });
  }
  connections.serverLimit = connected;
  connections.growsAt = performance.now() + GROWTH_PAUSE_MS;
  pool.options.max = connected;
}

/** Checks out a trusted connection, and destroys the others that it meets. Rejects with a DbError. */
export async function checkOut(connections: Connections, signal?: AbortSignal): Promise<pg.PoolClient> {
  const { pool, poolMax, trust } = connections;
  for (;;) {
    if (performance.now() >= connections.growsAt) pool.options.max = poolMax;
    const connecting = pool.connect();
    const client = await (signal ? untilAborted(connecting, signal) : connecting).catch((error) => {
      if (error instanceof DbError) throw error;
      const { message, sqlState } = toDbError(error);
      if (sqlState === TOO_MANY_CONNECTIONS && connections.connected > 0) return limitPool(connections);
      // If the start fails, the start itself reports it.
      if (trust.answers() > 0 && error.message !== POOL_IS_FULL) trust.refused(error);
      // Whatever the reason (a changed password, a database that admits nobody), there is no connection.
      throw new DbError('unavailable', message, sqlState === undefined ? {} : { sqlState });
    });
    if (client && trust.trusts(client)) return client;
    client?.release(true);
  }
}

async function untilAborted(connecting: Promise<pg.PoolClient>, signal: AbortSignal): Promise<pg.PoolClient> {
  try {
    return await abortable(connecting, signal);
  } catch (error) {
    connecting.then(
      (client) => client.release(),
      () => {},
    );
    throw signal.aborted ? canceled() : error;
  }
}

/**
 * Asks the server to cancel the current statement of `target`. Uses a separate connection, so that neither another dead
 * connection nor a full pool can delay it. Never rejects.
 */
export async function cancel({ Client, trust }: Connections, target: pg.Client): Promise<void> {
  const client = new Client();
  await withTimeLimit(client, CANCEL_MS, requestCancel(client, target)).catch(trust.refused);
}

/** Waits for statements under way as long as answers come. */
export async function closeConnections({ pool, trust, destroyAll }: Connections): Promise<void> {
  const ended = pool.end();
  let before: number;
  do before = trust.answers();
  while (!(await settlesWithin(ended, CLOSE_MS)) && trust.answers() > before);
  destroyAll();
  await ended;
}
