import pg from 'pg';
import { type Db, DbError, toDbError } from '../db.ts';
import type { Log } from '../deps.ts';
import type { OpenDb } from './open-db.ts';

/** Milliseconds that a cancelled statement gets to report what became of it. */
const CANCEL_GRACE_MS = 1000;

type Options = { url: string; poolMax: number; statementTimeoutMs: number; log: Log };

/** node-postgres over TCP: a pool, statements prepared once per connection, and cancellation on the server. */
export function openPostgres({ url, poolMax, statementTimeoutMs, log }: Options): OpenDb {
  const pool = new pg.Pool({
    connectionString: url,
    max: poolMax,
    statement_timeout: statementTimeoutMs,
    connectionTimeoutMillis: statementTimeoutMs,
    application_name: 'keelson',
  });
  // Without a listener, a connection that breaks while idle would end the process.
  pool.on('error', (error) => log.warn('idle database connection lost', { error: toDbError(error) }));
  // The same for one that breaks while a statement is at work: the statement's own failure tells of it.
  pool.on('connect', (client) => client.on('error', () => {}));
  // One connection, opened when first needed, so that a full pool cannot keep a statement from being cancelled.
  const canceler = new pg.Pool({
    connectionString: url,
    max: 1,
    idleTimeoutMillis: 10_000,
    connectionTimeoutMillis: 2000,
  });
  canceler.on('error', () => {});

  async function cancel(client: pg.PoolClient): Promise<void> {
    const { processID } = client as pg.PoolClient & { processID: number };
    try {
      await canceler.query('select pg_cancel_backend($1)', [processID]);
    } catch (error) {
      log.error('cannot cancel a statement', { error: toDbError(error) });
    }
  }

  const db: Db = {
    async run(statement, values, signal) {
      const client = await checkOut(pool, signal);
      const canceled = Promise.withResolvers<never>();
      const onAbort = () => {
        void cancel(client);
        setTimeout(canceled.reject, CANCEL_GRACE_MS, new DbError('canceled', 'canceled by the caller')).unref();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        const query = client.query({ name: statement.name, text: statement.text, values: statement.params(values) });
        const { rows } = await (signal ? Promise.race([query, canceled.promise]) : query);
        return rows;
      } catch (error) {
        throw toDbError(error);
      } finally {
        // The signal may outlive the statement, and the connection's next one is none of its business.
        signal?.removeEventListener('abort', onAbort);
        // After a cancellation the connection goes too: a late cancel must not hit someone else's statement.
        client.release(signal?.aborted ?? false);
      }
    },
  };

  return {
    db,
    close: async () => {
      await Promise.all([pool.end(), canceler.end()]);
    },
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
  };
}

async function checkOut(pool: pg.Pool, signal: AbortSignal | undefined): Promise<pg.PoolClient> {
  const waiting = pool.connect().catch((error) => {
    // Whatever the reason, there is no connection: a password that was changed, a database that admits nobody.
    const { message, sqlState } = toDbError(error);
    throw new DbError('unavailable', message, sqlState === undefined ? {} : { sqlState });
  });
  if (!signal) return waiting;
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(new DbError('canceled', 'canceled by the caller'));
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([waiting, aborted.promise]);
  } catch (error) {
    waiting.then(
      (client) => client.release(),
      () => {},
    );
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
