import pg from 'pg';
import { canceled, DbError, toDbError } from '../db.ts';
import type { Log } from '../deps.ts';
import { abortable } from '../http/abortable.ts';
import { attempt, connectionTrust, pgClients, requestCancel, settlesWithin } from './pg-client.ts';

/** Milliseconds that asking for a cancellation may take, connecting included. */
const CANCEL_MS = 2000;
/** Milliseconds without an answer after which a close waits no longer. */
const CLOSE_MS = 2000;
/** How a session writes times, and how long a statement, or a pause between two of a transaction, may take. */
const sessionSettings = (ms: number) => `set timezone = 'UTC'; set datestyle = 'ISO'; set statement_timeout = ${ms};
  set idle_in_transaction_session_timeout = ${ms}; show transaction_read_only`;
/** The SQLSTATE of a server that has no connection left for us. */
const TOO_MANY_CONNECTIONS = '53300';
/** Milliseconds after such an answer for which those that exist have to do. */
const NO_MORE_MS = 1000;
/** What pg-pool says when every connection is taken, which is no outage. */
const POOL_IS_FULL = 'timeout exceeded when trying to connect';

export type PoolOptions = { url: string; poolMax: number; statementTimeoutMs: number; log: Log };

/** A pool of connections, and what is known of the server that they lead to. */
export type Connections = PoolOptions &
  ReturnType<typeof pgClients> & {
    pool: pg.Pool;
    trust: ReturnType<typeof connectionTrust>;
    /** Connections that are open. */
    connected: number;
    /** How many connections the server would give us last, where it refused one. */
    givenAtMost: number;
    growsAt: number;
    refusals: number;
  };

/** A pool whose sessions are set up alike. Connects when it is first asked to. */
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
    givenAtMost: Number.POSITIVE_INFINITY,
    growsAt: Number.NEGATIVE_INFINITY,
    refusals: 0,
  };
  pool.on('error', (error, client) => connections.trust.lost(client, error));
  return connections;
}

// Not with the log-in: a pooler refuses what it does not know.
async function beginSession(connections: Connections, client: pg.ClientBase, refusalsBefore: number): Promise<void> {
  const { statementTimeoutMs, trust } = connections;
  const settings = client.query(sessionSettings(statementTimeoutMs)) as unknown as Promise<pg.QueryResult[]>;
  const results = await attempt(client as pg.Client, statementTimeoutMs, settings);
  trust.opened(client as pg.Client, results.at(-1)?.rows[0].transaction_read_only === 'on');
  connections.connected++;
  // One that was on its way when another was refused is no sign that there are more.
  const isMore = refusalsBefore === connections.refusals;
  if (connections.connected > connections.givenAtMost) {
    connections.givenAtMost = isMore ? Number.POSITIVE_INFINITY : connections.connected;
  }
  client.once('end', () => connections.connected--);
}

// The pool makes those wait for whom there is no connection below its limit.
function makeDo(connections: Connections): void {
  const { pool, log, connected } = connections;
  connections.refusals++;
  if (connections.givenAtMost === Number.POSITIVE_INFINITY) {
    log.warn('database gives no more connections', { open: connected });
  }
  connections.givenAtMost = connected;
  connections.growsAt = performance.now() + NO_MORE_MS;
  pool.options.max = connected;
}

/** A connection that is trusted; the others are destroyed on the way. Rejects with a DbError. */
export async function checkOut(connections: Connections, signal?: AbortSignal): Promise<pg.PoolClient> {
  const { pool, poolMax, trust } = connections;
  for (;;) {
    if (performance.now() >= connections.growsAt) pool.options.max = poolMax;
    const connecting = pool.connect();
    const client = await (signal ? untilAborted(connecting, signal) : connecting).catch((error) => {
      if (error instanceof DbError) throw error;
      const { message, sqlState } = toDbError(error);
      if (sqlState === TOO_MANY_CONNECTIONS && connections.connected > 0) return makeDo(connections);
      // At a start that fails, the start itself tells.
      if (trust.answers() > 0 && error.message !== POOL_IS_FULL) trust.refused(error);
      // Whatever the reason, there is no connection: a password that was changed, a database that admits nobody.
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
 * Asks the server to cancel what `target` is at, on a connection of its own, which no other's death and no full pool can
 * hold up. Never rejects.
 */
export async function cancel({ Client, trust }: Connections, target: pg.Client): Promise<void> {
  const client = new Client();
  await attempt(client, CANCEL_MS, requestCancel(client, target)).catch(trust.refused);
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
