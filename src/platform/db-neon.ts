import { types as driverTypes, neon, neonConfig } from '@neondatabase/serverless';
import { canceled, type Db, systemCode, TIMESTAMPTZ, timestamptz, toDbError, unanswered } from '../db.ts';
import type { OpenDb } from './open-db.ts';

/** Milliseconds that a statement gets to report its outcome if the server is about to cancel it. */
const CANCEL_GRACE_MS = 1000;

/**
 * Error codes for a request that was never sent, on Node and Bun. Deno and workerd have none, so a refused connection
 * leaves the outcome unknown there.
 */
const NOT_SENT = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|UND_ERR_CONNECT_TIMEOUT|ConnectionRefused)$/;

type Options = { url: string; fetchEndpoint?: string | undefined; statementTimeoutMs?: number };

/** Per-query options, because the driver has one endpoint for all clients and does not expose the HTTP status. */
type Own = { endpoint?: string; answered(status: number): void };

neonConfig.fetchFunction = async (usual: string, { endpoint, answered, ...init }: RequestInit & Own) => {
  const response = await fetch(endpoint ?? usual, init);
  answered(response.status);
  return response;
};

/** Passed with each query, because the driver ignores parsers that are set for all queries. */
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === TIMESTAMPTZ ? timestamptz : driverTypes.getTypeParser(oid, format),
};

/**
 * Opens a database through Neon's HTTP driver: one round trip per statement, no connections. Throws if `url` is invalid.
 * Neon's proxy cancels an aborted statement when the client disconnects; its outcome is known only if
 * `statementTimeoutMs` ends it at about the same time. Without an answer from Postgres the outcome is unknown, unless the
 * request was never sent, or was refused (a 4xx other than 400, which can also mean that the compute was lost).
 */
export function openNeon({ url, fetchEndpoint, statementTimeoutMs }: Options): OpenDb {
  const sql = neon(withStatementTimeout(url, statementTimeoutMs));

  /** Sends one request and reports its outcome. */
  async function request<T>(signal: AbortSignal, send: (fetchOptions: object) => Promise<T>): Promise<T> {
    if (signal.aborted) throw canceled();
    const graceUntil = performance.now() + (statementTimeoutMs ?? Number.NEGATIVE_INFINITY) + CANCEL_GRACE_MS;
    const { signal: hangUp, dispose } = abortedLate(signal, graceUntil);
    let refused = false;
    const answered = (status: number) => {
      refused = status > 400 && status < 500;
    };
    try {
      return await send({ signal: hangUp, endpoint: fetchEndpoint, answered });
    } catch (error) {
      const failure = toDbError(error);
      if (failure.sqlState !== undefined || refused || NOT_SENT.test(systemCode(error))) throw failure;
      throw unanswered(failure);
    } finally {
      dispose();
    }
  }

  const db: Db = {
    run: (statement, values, signal) =>
      request(signal, (fetchOptions) => {
        const rows = sql.query(statement.text, statement.params(values), { fetchOptions, types });
        // biome-ignore lint/suspicious/noExplicitAny: the statement's type vouches for its rows
        return rows as Promise<any[]>;
      }),
    batch: (statements, signal) =>
      request(signal, (fetchOptions) => {
        const queries = statements.map(({ text, params }) => sql.query(text, [...params], { types }));
        const rows = sql.transaction(queries, { isolationLevel: 'ReadCommitted', fetchOptions });
        // biome-ignore lint/suspicious/noExplicitAny: the statements' types vouch for their rows
        return rows as Promise<any>;
      }),
  };

  return { db, close: async () => {}, stats: () => ({ total: 0, idle: 0, waiting: 0 }) };
}

/** Returns a signal that follows `signal`: at once, or after a grace period if the server is about to end the statement. */
function abortedLate(signal: AbortSignal, graceUntil: number): { signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => {
    const grace = graceUntil - performance.now();
    if (grace <= 0 || grace > 2 * CANCEL_GRACE_MS) controller.abort();
    else timer = setTimeout(() => controller.abort(), Math.min(grace, CANCEL_GRACE_MS));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  const dispose = () => {
    if (timer !== undefined) clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  };
  return { signal: controller.signal, dispose };
}

function withStatementTimeout(url: string, milliseconds: number | undefined): string {
  // The URL holds the password: neither it nor the parser's message may be logged.
  if (!/^postgres(ql)?:/.test(url) || !URL.canParse(url)) throw new Error('the database URL is not a postgres:// URL');
  const parsed = new URL(url);
  // PgBouncer behind a pooled host drops or refuses start-up options: send none.
  if (milliseconds === undefined || parsed.hostname.split('.')[0]?.endsWith('-pooler')) return url;
  const options = [parsed.searchParams.get('options'), `-c statement_timeout=${milliseconds}`];
  parsed.searchParams.set('options', options.filter(Boolean).join(' '));
  return parsed.href;
}
