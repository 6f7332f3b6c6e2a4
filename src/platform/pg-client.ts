import pg from 'pg';
import { toDbError } from '../db.ts';
import type { Log } from '../deps.ts';

/** Milliseconds for opening a connection, TLS and authentication included. */
const CONNECT_MS = 5000;
/** Milliseconds that a canceled statement gets to report its outcome. */
export const CANCEL_GRACE_MS = 1000;
/** Milliseconds of silence after which the kernel sends keep-alive probes. */
const KEEP_ALIVE_MS = 10_000;
/** The SQLSTATE of a write in a read-only transaction. */
const READ_ONLY = '25006';
/** Milliseconds that a read-only connection is kept. */
const READ_ONLY_MS = 1000;

type Clients = { Client: new (config?: pg.ClientConfig) => pg.Client; destroyAll(): void };

/**
 * Creates clients that never wait for ever: TCP keep-alive, a time limit for connecting, and an `end` that closes the
 * socket without waiting for the server. `destroyAll` destroys all clients that are left.
 */
export function pgClients(url: string, name: string): Clients {
  const alive = new Set<pg.Client>();
  class Client extends pg.Client {
    constructor(config: pg.ClientConfig = {}) {
      super({
        ...config,
        connectionString: url,
        application_name: name,
        keepAlive: true,
        keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
        connectionTimeoutMillis: 0,
      });
      coalesceWrites(this.connection as pg.Connection & Wire);
      alive.add(this);
      const timer = setTimeout(destroy, CONNECT_MS, this);
      this.once('connect', () => clearTimeout(timer));
      this.once('end', () => {
        clearTimeout(timer);
        alive.delete(this);
      });
      // Without a listener, a broken connection would end the process. Its caller gets the error anyway.
      this.on('error', () => {});
    }

    // pg would wait for the other side to close.
    override end(): Promise<void>;
    override end(callback: (error: Error) => void): void;
    override end(callback?: (error: Error) => void): unknown {
      const ended = callback ? super.end(callback) : super.end();
      this.connection.stream.destroy();
      return ended;
    }
  }
  return { Client, destroyAll: () => alive.forEach(destroy) };
}

/** Awaits `work` on a connection for up to `ms`, then destroys the connection. */
export async function withTimeLimit<T>(client: pg.Client, ms: number, work: Promise<T>): Promise<T> {
  const timer = setTimeout(destroy, ms, client);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

// pg writes each of a statement's four messages separately, which is most of a statement's cost.
function coalesceWrites(connection: pg.Connection & Wire): void {
  let messages: Buffer[] = [];
  const flush = () => {
    const [first] = messages;
    const { stream } = connection;
    if (first && stream.writable) stream.write(messages.length === 1 ? first : Buffer.concat(messages));
    messages = [];
  };
  connection._send = (message) => {
    if (messages.push(message) === 1) setImmediate(flush);
  };
}

/** Destroys a connection with an error. pg then rejects everything that waits on it, connecting included. */
export function destroy(client: pg.Client): void {
  client.connection.stream.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }));
}

/** Parts of pg that its types do not declare. */
type Session = { processID: number; secretKey: number };
export const sessionOf = (client: pg.Client) => client as pg.Client & Session;
type Wire = { startup(): void; cancel(processID: number, secretKey: number): void; _send(message: Buffer): void };

/**
 * Asks the server to cancel the current statement of `target`, by the protocol's CancelRequest on the new connection
 * `client`. Rejects if it could not be sent.
 */
export async function requestCancel(client: pg.Client, target: pg.Client): Promise<void> {
  const { processID, secretKey } = sessionOf(target);
  const wire = client.connection as pg.Connection & Wire;
  let asked = false;
  wire.startup = () => {
    asked = true;
    wire.cancel(processID, secretKey);
  };
  // The server answers by closing, which pg takes for a failure to connect.
  await client.connect().catch((error) => {
    if (!asked) throw error;
  });
}

/** Whether a connection failed by a time-out, ours or the kernel's. */
function isTimeout(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ETIMEDOUT';
}

/** Whether `promise` settles within `ms`. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(late.resolve, ms, false);
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, late.promise]).finally(() => clearTimeout(timer));
}

/** Logs one line when a connection is lost, however many failures follow, and one when it is back. */
export function outageLog(log: Log, what: string): { lost(error: unknown): void; back(): void } {
  let away = false;
  return {
    lost(error) {
      if (!away) log.warn(`${what} connection lost`, { error: toDbError(error) });
      away = true;
    },
    back() {
      if (away) log.warn(`${what} connection is back`);
      away = false;
    },
  };
}

/**
 * Tracks which connections can be trusted. Connections tend to die together and silently: after one time-out, only those
 * that answered since are trusted. A connection may stay read-only after the database has become writable: it is trusted
 * for a second, or until another one is writable. Logs one line when an outage begins, and one when it ends.
 */
export function connectionTrust(log: Log) {
  const outage = outageLog(log, 'database');
  const timeoutsAtAnswer = new WeakMap<pg.Client, number>();
  const openedAt = new WeakMap<pg.Client, number>();
  const readOnly = new WeakSet<pg.Client>();
  let writableAt = Number.NEGATIVE_INFINITY;
  let timeouts = 0;
  let answers = 0;
  const trusts = (client: pg.Client) => timeoutsAtAnswer.get(client) === timeouts && !isOutdated(client);
  function isOutdated(client: pg.Client): boolean {
    if (!readOnly.has(client)) return false;
    const at = openedAt.get(client) as number;
    return at <= writableAt || performance.now() - at > READ_ONLY_MS;
  }
  return {
    opened(client: pg.Client, isReadOnly: boolean): void {
      timeoutsAtAnswer.set(client, timeouts);
      openedAt.set(client, performance.now());
      if (isReadOnly) readOnly.add(client);
      else writableAt = performance.now();
    },
    trusts,
    /** The number of answers on any connection. */
    answers: () => answers,
    /** Notes that a connection could not be opened. */
    refused: outage.lost,
    /** Notes an answer, which may be an error. */
    responded(client: pg.Client, error?: pg.DatabaseError | null): void {
      if (error?.code === READ_ONLY) readOnly.add(client);
      answers++;
      timeoutsAtAnswer.set(client, timeouts);
      outage.back();
    },
    /** Notes that a connection broke. Ignored if the connection was not trusted any more. */
    lost(client: pg.Client, error: unknown): void {
      if (!trusts(client)) return;
      if (isTimeout(error)) timeouts++;
      outage.lost(error);
    },
  };
}
