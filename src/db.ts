import { is, Placeholder, type SQL, sql } from 'drizzle-orm';
import { CasingCache } from 'drizzle-orm/casing';
import { timestamp } from 'drizzle-orm/pg-core';

/** A value as drivers are given it. Times go and come as RFC 3339 text: on every driver. */
type Value = string | number | boolean | null;

/**
 * Which statements share a connection with others of their kind, many of them under way at a time, where the driver
 * can. One may that finds its rows by an index, of which there are few, and waits for no lock that a client could hold:
 * it takes little longer than a round trip, and what is sent behind it hardly notices. `reads` change nothing. Any
 * other statement has a connection of its own while it runs.
 */
export type Sharing = 'reads' | 'inserts';

/** SQL with names for its parameters and a type for its rows. */
export type Statement<V, R> = {
  readonly name: string;
  readonly shares: Sharing | undefined;
  readonly text: string;
  readonly params: (values: V) => Value[];
  readonly row?: R;
};

/** A statement with its values, for a batch. */
export type Bound<R> = {
  readonly name: string;
  readonly text: string;
  readonly params: readonly Value[];
  readonly row?: R;
};

export function bind<V, R>({ name, text, params }: Statement<V, R>, values: V): Bound<R> {
  return { name, text, params: params(values) };
}

/** The rows of each statement of a batch. */
type RowsOf<B> = { -readonly [K in keyof B]: B[K] extends Bound<infer R> ? R[] : never };

/**
 * A database as the stores see it: one call is one round trip and one transaction, read committed.
 *
 * Rejects with a DbError and nothing else. `signal` says how long the caller waits: when it aborts, the statement is
 * cancelled on the server, and the promise settles once it is known whether it took effect, or a second later.
 */
export type Db = {
  run<V, R>(statement: Statement<V, R>, values: V, signal: AbortSignal): Promise<R[]>;
  /**
   * Runs statements in their order: all take effect, or none. Each sees what those before it wrote. Returns the rows of
   * each. Where a decision in code has to come between two of them, see `SessionDb`.
   */
  batch<const B extends readonly Bound<unknown>[]>(statements: B, signal: AbortSignal): Promise<RowsOf<B>>;
};

/**
 * A database whose connections have sessions: node-postgres and PGlite, not Neon over HTTP, and so no Worker. What
 * takes a `Db` cannot call for a transaction by mistake; what needs one takes a `SessionDb`.
 */
export type SessionDb = Db & {
  /**
   * Runs `work` in one transaction, read committed, on a connection of its own, a round trip for each statement. Commits
   * when `work` resolves. When it rejects, when one of its statements failed, or when `signal` aborts, nothing is
   * written. Rejects as `run` does, or with what `work` threw. `tx` is of no use once `work` is over, and statements
   * given to the database itself are not part of the transaction.
   */
  transaction<T>(work: (tx: Db) => Promise<T>, signal: AbortSignal): Promise<T>;
};

// As drizzle's PgDialect does, which would bring the whole query builder along.
const postgres = {
  casing: new CasingCache(),
  escapeName: (name: string) => `"${name.replaceAll('"', '""')}"`,
  escapeParam: (index: number) => `$${index + 1}`,
  escapeString: (text: string) => `'${text.replaceAll("'", "''")}'`,
};

/**
 * SQL that may name its parameters as `$.name`, compiled when it first runs: a cold start needs few of them.
 * `name` is what Postgres prepares it under: unique, and changed when the text means something else.
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

// A list or an object is bound as JSON text.
function asValue(value: unknown): Value {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : (value as Value);
}

/** A placeholder for each value that a statement takes. */
export type Params<V> = { readonly [K in keyof V]: Placeholder };

function namedParams<V>(): Params<V> {
  return new Proxy({} as Params<V>, { get: (_, name) => sql.placeholder(String(name)) });
}

/** A column for a time, to the millisecond; rows hold what drivers hand on, RFC 3339 text. */
export const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'string' });

/** A timestamp as the API writes it, and as drivers hand it on: RFC 3339, UTC, milliseconds. */
export function rfc3339(time: SQL): SQL {
  return sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}

/** For drivers: `rfc3339` of Postgres's own text for a timestamp with time zone. Throws where that is none. */
export function timestamptz(text: string): string {
  // 2026-11-25 10:00:00+00, with up to six digits after a point, as a session in UTC has it.
  if (!text.endsWith('+00') || text[10] !== ' ') return new Date(text.replace(/([+-]\d\d)$/, '$1:00')).toISOString();
  return `${text.slice(0, 10)}T${text.slice(11, 19)}.${text.slice(20, -3).slice(0, 3).padEnd(3, '0')}Z`;
}

/** The type of a timestamp with time zone, as drivers know it. */
export const TIMESTAMPTZ = 1184;

/**
 * Why a statement failed, as far as callers need to tell. Nothing was written, and nothing will be, unless it is
 * `unknown`: then the statement was sent, and no answer came.
 */
type DbFailure = 'unavailable' | 'canceled' | 'failed' | 'unknown';

/** A failed statement. Carries neither parameters nor Postgres's `detail`, which hold personal data. */
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

/** Of a statement whose caller waits no longer, and which did not take effect. */
export const canceled = () => new DbError('canceled', 'canceled by the caller');

/** Of a statement that was sent, and to which there was no answer that tells what became of it. */
export const withoutAnswer = (error: unknown) =>
  new DbError('unknown', `no answer to the statement: ${toDbError(error).message}`);

const SQLSTATE = /^(?:\d[0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/;
// What no client caused, and nothing was written: a database that is read-only, admits nobody, has too little of
// something, shuts down or cannot read its disk; a lock that is not waited for, a rollback that a retry cures.
const UNAVAILABLE = /^(?:25006|25P03|28|3D000|40|53|55P03|57P|58)/;
// A full or broken disk: where it ends more than the statement, as at a failed WAL write (PANIC), the commit may be in the
// log already, and recovery then replays it.
const DISK = /^(?:53100|58)/;
// What a pooler says when its own connection broke; a commit whose answer was lost; a server that crashed.
const UNKNOWN = /^(?:08|40003|57P02)/;
// Cancelled, by its deadline or by a limit that an operator set.
const CANCELED = /^(?:57014|25P04)$/;
// Data exceptions quote the offending value.
const QUOTES_DATA = /^(?:22|P0)/;

/** Turns what any driver throws into a DbError, by the SQLSTATE somewhere along its chain of causes. */
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

// The severity may be translated; what is not surely an error is then unknown, which is never wrong.
function failureOf(sqlState: string, severity: unknown): DbFailure {
  if (CANCELED.test(sqlState)) return 'canceled';
  if (UNKNOWN.test(sqlState) || (DISK.test(sqlState) && severity !== 'ERROR')) return 'unknown';
  return UNAVAILABLE.test(sqlState) ? 'unavailable' : 'failed';
}

/** A system error's code, or a name: a driver's own words may hold the connection string. */
export function systemCode(error: unknown): string {
  for (let e = error as Record<string, unknown> | undefined; e; e = (e.cause ?? e.sourceError) as typeof e) {
    if (typeof e.code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(e.code)) return e.code;
    const first = Array.isArray(e.errors) ? e.errors[0] : undefined;
    if (first) return systemCode(first);
  }
  return error instanceof Error ? error.name : 'unknown error';
}
