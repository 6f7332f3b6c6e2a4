import { is, Placeholder, type SQL, sql } from 'drizzle-orm';
import { CasingCache } from 'drizzle-orm/casing';
import { timestamp } from 'drizzle-orm/pg-core';

/** A value that drivers accept. Times are RFC 3339 text in both directions, on every driver. */
type Value = string | number | boolean | null;

/**
 * `reads` and `inserts` may share a pipelined connection with others of their kind, if the driver supports it. Share
 * only a statement that finds few rows by an index and waits for no lock that a client could hold, so that it hardly
 * delays the others. `reads` write nothing. `inserts` may commit together: if one of them fails or is slow, all are
 * rolled back, and each runs again in a transaction of its own. Any other statement gets its own connection. Those
 * whose cost a client controls are `searches`, which together get at most half of the connections.
 */
export type Sharing = 'reads' | 'inserts' | 'searches';

/** SQL with named parameters and typed rows. */
export type Statement<V, R> = {
  readonly name: string;
  readonly shares: Sharing | undefined;
  readonly text: string;
  readonly params: (values: V) => Value[];
  readonly row?: R;
};

/** The row of a left join: each column is null if nothing matches. */
export type Joined<R> = R | { [K in keyof R]: null };

/** A statement with its values, for a batch. */
export type Bound<R> = {
  readonly name: string;
  readonly text: string;
  readonly params: readonly Value[];
  /** The parameters, with more values. */
  readonly paramsWith: (more: object) => readonly Value[];
  readonly row?: R;
};

/** Runs a statement that always returns one row. */
export async function oneRow<V, R>(db: Db, statement: Statement<V, R>, values: V, signal: AbortSignal): Promise<R> {
  const [row] = await db.run(statement, values, signal);
  if (!row) throw new Error(`${statement.name} returned no row`);
  return row;
}

export function bind<V, R>({ name, text, params }: Statement<V, R>, values: V): Bound<R> {
  return { name, text, params: params(values), paramsWith: (more) => params({ ...values, ...more }) };
}

/** The rows of each statement in a batch. */
type RowsOf<B> = { -readonly [K in keyof B]: B[K] extends Bound<infer R> ? R[] : never };

/**
 * The database as stores use it: one call is one round trip and one transaction, read committed.
 *
 * Every rejection is a DbError. `signal` limits how long the caller waits: when it aborts, the statement is canceled
 * on the server, and the promise settles as soon as the outcome is known, or after a second.
 */
export type Db = {
  run<V, R>(statement: Statement<V, R>, values: V, signal: AbortSignal): Promise<R[]>;
  /**
   * Runs statements in order: all take effect, or none. Each sees what those before it wrote. Returns the rows of
   * each. If code has to decide between two of them, see `SessionDb`.
   */
  batch<const B extends readonly Bound<unknown>[]>(statements: B, signal: AbortSignal): Promise<RowsOf<B>>;
};

/**
 * A database whose connections have sessions: node-postgres and PGlite, but not Neon over HTTP, so not on Workers. A
 * function that needs a transaction takes a `SessionDb`, so that the compiler rejects a `Db`.
 */
export type SessionDb = Db & {
  /**
   * Runs `work` in one transaction, read committed, on a connection of its own, with a round trip per statement.
   * Commits when `work` resolves. If it rejects, if a statement fails, or if `signal` aborts, nothing is written. Rejects
   * as `run` does, or with what `work` threw. Use `tx` inside `work` only. Statements run on the database itself are not
   * part of the transaction.
   */
  transaction<T>(work: (tx: Db) => Promise<T>, signal: AbortSignal): Promise<T>;
};

// The same as drizzle's PgDialect, without importing the query builder.
const postgres = {
  casing: new CasingCache(),
  escapeName: (name: string) => `"${name.replaceAll('"', '""')}"`,
  escapeParam: (index: number) => `$${index + 1}`,
  escapeString: (text: string) => `'${text.replaceAll("'", "''")}'`,
};

/**
 * Declares SQL whose parameters are `$.name`. It is compiled on first use, because a cold start needs few statements.
 * `name` names the prepared statement. It must be unique, and must change when the meaning of the text changes.
 */
export function statement<V extends object, R>(
  name: string,
  build: ($: Params<V>) => SQL,
  shares?: Sharing,
): Statement<V, R> {
  let compiled: { text: string; readers: ((values: V) => unknown)[] } | undefined;
  const compile = () => {
    compiled ??= compileSql(build(namedParams<V>()));
    return compiled;
  };
  return {
    name,
    shares,
    get text() {
      return compile().text;
    },
    params: (values) => compile().readers.map((read) => asValue(read(values))),
  };
}

function compileSql<V>(query: SQL) {
  const { sql: text, params } = query.toQuery(postgres);
  const readers = params.map((param) =>
    is(param, Placeholder) ? (values: V): unknown => values[param.name as keyof V] : () => param,
  );
  return { text, readers };
}

// Binds a list or an object as JSON text, and a missing value as null.
function asValue(value: unknown): Value {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : ((value ?? null) as Value);
}

/** A placeholder for each parameter of a statement. */
export type Params<V> = { readonly [K in keyof V]: Placeholder };

function namedParams<V>(): Params<V> {
  return new Proxy({} as Params<V>, { get: (_, name) => sql.placeholder(String(name)) });
}

/** A column for a time with milliseconds. Rows have RFC 3339 text. */
export const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'string' });

/** Formats a timestamp as the API and drivers do: RFC 3339, UTC, milliseconds. */
export function rfc3339(time: SQL): SQL {
  return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}

/** For drivers: converts Postgres's text for a timestamp with time zone to RFC 3339. Throws if it is invalid. */
export function timestamptz(text: string): string {
  // 2026-11-25 10:00:00+00, with up to six decimals: the format of a session in UTC.
  if (!text.endsWith('+00') || text[10] !== ' ') return new Date(text.replace(/([+-]\d\d)$/, '$1:00')).toISOString();
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${text.slice(20, -3).slice(0, 3).padEnd(3, '0')}Z`;
}

/** The OID of the type timestamp with time zone. */
export const TIMESTAMPTZ = 1184;

/**
 * Why a statement failed. Nothing was written, and nothing will be, unless it is `unknown`: then the statement was
 * sent, but got no response.
 */
type DbFailure = 'unavailable' | 'canceled' | 'failed' | 'unknown';

/** A failed statement. Has neither parameters nor Postgres's `detail`, which contain personal data. */
export class DbError extends Error {
  readonly failure: DbFailure;
  readonly sqlState: string | undefined;
  readonly constraint: string | undefined;

  constructor(failure: DbFailure, message: string, cause?: { sqlState?: string; constraint?: string }) {
    super(message);
    this.name = 'DbError';
    this.failure = failure;
    this.sqlState = cause?.sqlState;
    this.constraint = cause?.constraint;
  }
}

/** The error of a statement whose caller stopped waiting, and which did not take effect. */
export const canceled = () => new DbError('canceled', 'canceled by the caller');

/** The error of a statement that was sent, and whose outcome is unknown. */
export const unanswered = (error: unknown) =>
  new DbError('unknown', `no answer to the statement: ${toDbError(error).message}`);

const SQLSTATE = /^(?:\d[0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/;
// Not the client's fault, and nothing was written: the database is read-only, refuses connections, lacks resources,
// shuts down or cannot read its disk; a lock was not available; a rollback that a retry resolves.
const UNAVAILABLE = /^(?:25006|25P03|28|3D000|40|53|55P03|57P|58)/;
// A full or broken disk. If it terminates more than the statement (PANIC at a failed WAL write), the commit may already
// be in the log, and recovery replays it.
const DISK = /^(?:53100|58)/;
// A pooler whose connection broke, a commit whose response was lost, a server that crashed.
const UNKNOWN = /^(?:08|40003|57P02)/;
// Canceled by its deadline, or by a limit that an operator set.
const CANCELED = /^(?:57014|25P04)$/;
// The messages of data exceptions contain the invalid value.
const QUOTES_DATA = /^(?:22|P0)/;

/** Converts any driver's error to a DbError, by the first SQLSTATE in its chain of causes. */
export function toDbError(error: unknown): DbError {
  if (error instanceof DbError) return error;
  for (let e = error as Record<string, unknown> | undefined; e; e = (e.cause ?? e.sourceError) as typeof e) {
    const { code, constraint, message, name, severity } = e;
    if (name === 'AbortError' || name === 'TimeoutError') return canceled();
    if (typeof code !== 'string' || !SQLSTATE.test(code)) continue;
    return new DbError(failureOf(code, severity), QUOTES_DATA.test(code) ? `SQLSTATE ${code}` : String(message), {
      sqlState: code,
      ...(typeof constraint === 'string' && { constraint }),
    });
  }
  return new DbError('unavailable', `cannot reach the database: ${systemCode(error)}`);
}

// The severity may be translated. Anything other than ERROR is then `unknown`, which is always safe.
function failureOf(sqlState: string, severity: unknown): DbFailure {
  if (CANCELED.test(sqlState)) return 'canceled';
  if (UNKNOWN.test(sqlState) || (DISK.test(sqlState) && severity !== 'ERROR')) return 'unknown';
  return UNAVAILABLE.test(sqlState) ? 'unavailable' : 'failed';
}

/** Returns a system error's code, or its name: a driver's message may contain the connection string. */
export function systemCode(error: unknown): string {
  for (let e = error as Record<string, unknown> | undefined; e; e = (e.cause ?? e.sourceError) as typeof e) {
    if (typeof e.code === 'string' && /^[A-Z][A-Za-z0-9_]+$/.test(e.code)) return e.code;
    const first = Array.isArray(e.errors) ? e.errors[0] : undefined;
    if (first) return systemCode(first);
  }
  return error instanceof Error ? error.name : 'unknown error';
}
