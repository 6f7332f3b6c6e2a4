import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { PGlite } from '@electric-sql/pglite';
import pg from 'pg';

/** A statement as the driver sends it, with parameters in Postgres's text format. */
type Statement = { query: string; params: (string | null)[] };
/** Its result, with values in Postgres's text format. */
type Result = {
  fields: { name: string; dataTypeID: number }[];
  rows: (string | null)[][];
  command: string;
  rowCount: number | null;
};
/** The options of `set transaction` for a batch; undefined for a single statement. */
type Transaction = string | undefined;

/** A Postgres behind the endpoint. Rejects with the driver's own error. */
export type NeonBackend = {
  /** Returns why a client with this connection string is refused, or undefined. */
  refuses(connection: URL): string | undefined;
  /** Runs all statements on one connection, in a transaction if one is given. An abort cancels them if it can. */
  run(statements: Statement[], transaction: Transaction, connection: URL, signal: AbortSignal): Promise<Result[]>;
  close(): Promise<void>;
};

/** Neon's limit on requests and responses. */
const MAX_BYTES = 10 * 1024 * 1024;
const ISOLATION: Record<string, string> = {
  ReadUncommitted: 'read uncommitted',
  ReadCommitted: 'read committed',
  RepeatableRead: 'repeatable read',
  Serializable: 'serializable',
};
// The fields of a Postgres error that Neon's proxy passes on.
const ERROR_FIELDS = [
  ...['code', 'detail', 'hint', 'position', 'internalPosition', 'internalQuery', 'severity', 'where', 'table'],
  ...['column', 'schema', 'dataType', 'constraint', 'file', 'line', 'routine'],
] as const;

class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Starts Neon's SQL over HTTP in front of any Postgres, on loopback, for development and tests. As strict as Neon's
 * proxy. `url` is the value for DATABASE_FETCH_ENDPOINT; `requests` counts round trips.
 */
export async function startNeonEndpoint({ backend }: { backend: NeonBackend }) {
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    const gone = new AbortController();
    // Neon's proxy cancels the statement of a client that disconnects.
    response.on('close', () => gone.abort());
    answer(backend, request, gone.signal).then(
      (body) => send(response, 200, body),
      (error) => send(response, ...failure(error)),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`,
    requests: () => requests,
    async close(): Promise<void> {
      server.close();
      server.closeAllConnections();
      await backend.close();
    },
  };
}

async function answer(backend: NeonBackend, request: IncomingMessage, signal: AbortSignal): Promise<string> {
  if (request.method !== 'POST' || request.url !== '/sql') throw new Refusal(404, 'not found');
  const connection = connectionOf(request);
  const refused = backend.refuses(connection);
  if (refused) throw new Refusal(400, refused);
  const transaction = transactionOf(request);
  const payload = await payloadOf(request);
  const batch = 'queries' in payload;
  const statements = batch ? payload.queries : [payload];
  const results = await backend.run(statements.map(asText), batch ? transaction : undefined, connection, signal);
  const rowAsArray = request.headers['neon-array-mode'] === 'true';
  const shown = results.map((result) => ({ ...result, rowAsArray, rows: rowAsArray ? result.rows : byName(result) }));
  const body = JSON.stringify(batch ? { results: shown } : shown[0]);
  if (Buffer.byteLength(body) > MAX_BYTES) throw new Refusal(507, `response is too large (max is ${MAX_BYTES} bytes)`);
  return body;
}

function connectionOf({ headers }: IncomingMessage): URL {
  const text = headers['neon-connection-string'];
  if (typeof text !== 'string') throw new Refusal(400, 'missing header: Neon-Connection-String');
  if (!URL.canParse(text)) throw new Refusal(400, 'invalid header: Neon-Connection-String');
  const url = new URL(text);
  if (!['postgres:', 'postgresql:'].includes(url.protocol)) throw new Refusal(400, 'incorrect connection scheme');
  if (!url.username || !url.hostname || url.pathname.length < 2) throw new Refusal(400, 'incomplete connection string');
  // Only text values: Neon can also send JSON values, but its driver never asks for them.
  if (headers['neon-raw-text-output'] !== 'true') throw new Refusal(400, 'only Neon-Raw-Text-Output: true is known');
  return url;
}

function transactionOf({ headers }: IncomingMessage): string {
  const level = headers['neon-batch-isolation-level'];
  if (level !== undefined && !ISOLATION[String(level)]) throw new Refusal(400, 'invalid isolation level');
  return [
    `isolation level ${ISOLATION[String(level ?? 'ReadCommitted')]}`,
    headers['neon-batch-read-only'] === 'true' ? 'read only' : 'read write',
    headers['neon-batch-deferrable'] === 'true' ? 'deferrable' : 'not deferrable',
  ].join(', ');
}

type Query = { query: string; params?: unknown[] };

async function payloadOf(request: IncomingMessage): Promise<Query | { queries: Query[] }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BYTES) throw new Refusal(413, `request is too large (max is ${MAX_BYTES} bytes)`);
    chunks.push(chunk);
  }
  let payload: unknown;
  try {
    payload = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refusal(400, 'could not parse the request body as JSON');
  }
  const { queries } = (payload ?? {}) as { queries?: unknown };
  if (Array.isArray(queries) ? queries.every(isQuery) : isQuery(payload)) return payload as Query;
  throw new Refusal(400, 'the request body is neither a query nor a batch');
}

function isQuery(value: unknown): value is Query {
  const { query, params = [] } = (value ?? {}) as Partial<Query>;
  return typeof query === 'string' && Array.isArray(params);
}

const asText = ({ query, params = [] }: Query): Statement => ({
  query,
  params: params.map((p) => (p === null ? null : typeof p === 'object' ? JSON.stringify(p) : String(p))),
});

const byName = ({ fields, rows }: Result) =>
  rows.map((row) => Object.fromEntries(row.map((value, i) => [fields[i]?.name, value])));

function failure(error: unknown): [status: number, body: string] {
  const { message, ...fields } = error as Record<string, unknown>;
  const shown: Record<string, unknown> = { message: error instanceof Error ? error.message : String(message) };
  if (error instanceof Refusal) return [error.status, JSON.stringify(shown)];
  // The two drivers have different error classes. An error not from Postgres (a broken connection) is a 400, too.
  const fromPostgres = typeof fields.severity === 'string' && typeof fields.code === 'string';
  for (const field of ERROR_FIELDS) shown[field] = (fromPostgres && fields[field]) || null;
  return [400, JSON.stringify(shown)];
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(body);
}

const raw = { getTypeParser: () => (value: string | Buffer) => value };

/** A backend on Postgres over TCP. Clients must give its database, its user, and its password if it has one. */
export function postgresBackend(url: string): NeonBackend {
  const own = new URL(url);
  const pools = new Map<string, pg.Pool>();

  // Start-up options (such as statement_timeout) belong to a connection, so each set of options has its own pool.
  function poolFor(options: string): pg.Pool {
    const existing = pools.get(options);
    if (existing) return existing;
    const pool = new pg.Pool({ connectionString: url, max: 20, options });
    pool.on('error', () => {});
    // Without a listener, a broken connection would end the process. The statement reports the error.
    pool.on('connect', (client) => client.on('error', () => {}));
    pools.set(options, pool);
    return pool;
  }

  return {
    refuses({ username, password, pathname }) {
      if (username !== own.username || (own.password && password !== own.password))
        return `password authentication failed for user '${username}'`;
      return pathname === own.pathname ? undefined : `database "${pathname.slice(1)}" does not exist`;
    },
    async run(statements, transaction, connection, signal) {
      const client = await poolFor(connection.searchParams.get('options') ?? '').connect();
      const { processID } = client as pg.PoolClient & { processID: number };
      const cancel = () =>
        void poolFor('')
          .query('select pg_cancel_backend($1)', [processID])
          .catch(() => {});
      signal.addEventListener('abort', cancel, { once: true });
      try {
        signal.throwIfAborted();
        if (transaction) await client.query(`begin transaction ${transaction}`);
        const results: Result[] = [];
        for (const { query, params } of statements) {
          signal.throwIfAborted();
          results.push(await runOnPostgres(client, query, params));
        }
        if (transaction) await client.query('commit');
        return results;
      } catch (error) {
        if (transaction) await client.query('rollback').catch(() => {});
        throw error;
      } finally {
        signal.removeEventListener('abort', cancel);
        // After a cancellation, destroy the connection: a late cancel must not hit another statement.
        client.release(signal.aborted);
      }
    },
    close: async () => void (await Promise.all([...pools.values()].map((pool) => pool.end()))),
  };
}

// The extended protocol refuses two statements in one query, as Neon does.
async function runOnPostgres(client: pg.PoolClient, text: string, values: (string | null)[]): Promise<Result> {
  const query = { text, values, rowMode: 'array' as const, queryMode: 'extended', types: raw };
  const { fields, rows, command, rowCount } = await client.query(query);
  return { fields: fields.map(({ name, dataTypeID }) => ({ name, dataTypeID })), rows, command, rowCount };
}

/** A backend on PGlite. Accepts every client. Only a request that has not begun can be canceled. */
export function pgliteBackend(client: PGlite): NeonBackend {
  // Values stay text in both directions.
  const asIs = (value: string) => value;
  const parsers = Object.fromEntries(Object.keys(client.parsers).map((type) => [type, asIs]));
  const serializers = Object.fromEntries(Object.keys(client.serializers).map((type) => [type, asIs]));

  async function runOn(on: Pick<PGlite, 'query'>, { query, params }: Statement): Promise<Result> {
    const options = { rowMode: 'array' as const, parsers, serializers };
    const { fields, rows, command, rowCount } = await on.query<(string | null)[]>(query, params, options);
    return { fields, rows, command: command ?? '', rowCount: rowCount ?? null };
  }

  return {
    refuses: () => undefined,
    async run(statements, transaction, _, signal) {
      signal.throwIfAborted();
      if (!transaction) return Promise.all(statements.map((statement) => runOn(client, statement)));
      return client.transaction(async (tx) => {
        await tx.exec(`set transaction ${transaction}`);
        const results: Result[] = [];
        for (const statement of statements) results.push(await runOn(tx as Pick<PGlite, 'query'>, statement));
        return results;
      });
    },
    close: () => client.close(),
  };
}
