import pg from 'pg';
import { canceled, type Db, DbError, type Sharing, toDbError, withoutAnswer } from '../db.ts';
import type { Log } from '../deps.ts';
import { abortable } from '../http/abortable.ts';
import type { OpenDb } from './open-db.ts';
import { attempt, CANCEL_GRACE_MS, connectionTrust, pgClients, requestCancel, settlesWithin } from './pg-client.ts';
import { hasSession } from './pooling.ts';
import { PreparedQuery, type Sent } from './prepared-query.ts';
import { sharedConnections } from './shared-connections.ts';

/** Milliseconds that a cancel request may take, including connecting. */
const CANCEL_MS = 2000;
/** Milliseconds without an answer after which `close` stops waiting. */
const CLOSE_MS = 2000;
/** Sets the session's time zone and statement time-out, and asks whether it is read-only. */
const sessionSettings = (statementTimeoutMs: number) =>
  `set timezone = 'UTC'; set datestyle = 'ISO'; set statement_timeout = ${statementTimeoutMs}; show transaction_read_only`;
/** The SQLSTATE of a server that has no connections left. */
const TOO_MANY_CONNECTIONS = '53300';
/** Milliseconds after such an error during which no new connection is opened. */
const NO_MORE_MS = 1000;
/** pg-pool's message if every connection is in use, which is no outage. */
const POOL_IS_FULL = 'timeout exceeded when trying to connect';

type Options = { url: string; poolMax: number; statementTimeoutMs: number; log: Log };

/**
 * Opens a database through node-postgres over TCP: a pool, statements prepared once per connection, cancellation on the
 * server. A statement settles soon after its signal aborts, whatever the network does.
 */
export function openPostgres({ url, poolMax, statementTimeoutMs, log }: Options): OpenDb {
  const { Client, destroyAll } = pgClients(url, 'keelson');
  const trust = connectionTrust(log);
  let connected = 0;
  /** How many connections the server allowed when it last refused one. */
  let givenAtMost = Number.POSITIVE_INFINITY;
  let growsAt = Number.NEGATIVE_INFINITY;
  let refusals = 0;

  class PoolClient extends Client {
    readonly refusalsBefore = refusals;
  }

  const pool = new pg.Pool({
    Client: PoolClient,
    max: poolMax,
    connectionTimeoutMillis: statementTimeoutMs,
    pipeline: true,
    onConnect: beginSession,
  });
  pool.on('error', (error, client) => trust.lost(client, error));

  // Not as start-up options: a pooler refuses unknown ones.
  async function beginSession(client: pg.ClientBase): Promise<void> {
    const settings = client.query(sessionSettings(statementTimeoutMs)) as unknown as Promise<pg.QueryResult[]>;
    const results = await attempt(client as pg.Client, statementTimeoutMs, settings);
    trust.opened(client as pg.Client, results.at(-1)?.rows[0].transaction_read_only === 'on');
    connected++;
    // A connection that was being opened when another was refused does not mean that there are more.
    const isMore = (client as PoolClient).refusalsBefore === refusals;
    if (connected > givenAtMost) givenAtMost = isMore ? Number.POSITIVE_INFINITY : connected;
    client.once('end', () => connected--);
  }

  // Lowers the pool's limit, so that requests wait for an open connection.
  function makeDo(): void {
    refusals++;
    if (givenAtMost === Number.POSITIVE_INFINITY) log.warn('database gives no more connections', { open: connected });
    givenAtMost = connected;
    pool.options.max = connected;
    growsAt = performance.now() + NO_MORE_MS;
  }

  /** Returns a trusted connection, and destroys those that are not. */
  async function checkOut(signal?: AbortSignal): Promise<pg.PoolClient> {
    for (;;) {
      if (performance.now() >= growsAt) pool.options.max = poolMax;
      const connecting = pool.connect();
      const client = await (signal ? untilAborted(connecting, signal) : connecting).catch((error) => {
        if (error instanceof DbError) throw error;
        const { message, sqlState } = toDbError(error);
        if (sqlState === TOO_MANY_CONNECTIONS && connected > 0) return makeDo();
        // Before the first connection, the start reports the error.
        if (trust.answers() > 0 && error.message !== POOL_IS_FULL) trust.refused(error);
        // For any reason (a changed password, a database that accepts no connections), there is no connection.
        throw new DbError('unavailable', message, sqlState === undefined ? {} : { sqlState });
      });
      if (client && trust.trusts(client)) return client;
      client?.release(true);
    }
  }

  /** Runs a statement on its own connection. On abort it is cancelled; without an answer, the connection is destroyed. */
  async function answer(client: pg.Client, sent: Sent, signal: AbortSignal): Promise<unknown[]> {
    const query = new Promise<unknown[]>((resolve, reject) => {
      const answered = (error: Error | null, rows: unknown[]) => (error ? reject(error) : resolve(rows));
      client.query(new PreparedQuery(sent, answered));
    });
    const onAbort = () => {
      void cancel(client);
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
      // The signal may outlive the statement, and must not cancel the connection's next one.
      signal.removeEventListener('abort', onAbort);
    }
  }

  // On a new connection: neither a dead one nor a full pool delays it.
  async function cancel(target: pg.Client): Promise<void> {
    const client = new Client();
    await attempt(client, CANCEL_MS, requestCancel(client, target)).catch(trust.refused);
  }

  async function runAlone(sent: Sent, signal: AbortSignal): Promise<unknown[]> {
    const client = await checkOut(signal);
    try {
      return await answer(client, sent, signal);
    } finally {
      // After a cancellation, destroy the connection: a late cancel must not hit another statement.
      client.release(signal.aborted);
    }
  }

  const host = { ...trust, checkOut, cancel, contended: () => pool.waitingCount > 0 };
  // Inserts wait for the disk, and commits on several connections share one wait. Both kinds give up connections when
  // another statement needs one.
  const shared: Record<Sharing, typeof runAlone> = {
    reads: sharedConnections({ depth: 64, connections: 2, writes: false }, host),
    inserts: sharedConnections({ depth: 4, connections: Math.max(1, poolMax - 2), writes: true }, host),
  };

  const db: Db = {
    run({ name, text, params, shares }, values, signal) {
      const run = shares ? shared[shares] : runAlone;
      // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
      return run({ name, text, params: params(values) }, signal) as Promise<any[]>;
    },
  };

  return {
    db,
    async hasSessions() {
      const client = await checkOut();
      return hasSession(client, () => new Client()).finally(() => client.release());
    },
    async close() {
      const ended = pool.end();
      let before: number;
      do before = trust.answers();
      while (!(await settlesWithin(ended, CLOSE_MS)) && trust.answers() > before);
      destroyAll();
      await ended;
    },
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
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
