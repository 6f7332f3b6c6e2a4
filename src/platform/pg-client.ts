import pg from 'pg';
import { toDbError } from '../db.ts';
import type { Log } from '../deps.ts';

/** Milliseconds that a connection gets to be opened, TLS and password included. */
const CONNECT_MS = 5000;
/** Milliseconds that a cancelled statement gets to report what became of it. */
export const CANCEL_GRACE_MS = 1000;
/** Milliseconds of silence after which the kernel asks whether the other side still lives. */
const KEEP_ALIVE_MS = 10_000;
/** The SQLSTATE of a write where nothing can be written. */
const READ_ONLY = '25006';
/** Milliseconds that a connection is kept on which nothing can be written. */
const READ_ONLY_MS = 1000;

type Clients = { Client: new (config?: pg.ClientConfig) => pg.Client; destroyAll(): void };

/**
 * Makes clients that wait for nobody: TCP keep-alive, a limit to connecting, and an `end` that says goodbye and closes
 * the socket, answer or not. `destroyAll` breaks off what is left of them, connecting or at work.
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
      oneWritePerTurn(this.connection as pg.Connection & Wire);
      alive.add(this);
      const timer = setTimeout(destroy, CONNECT_MS, this);
      this.once('connect', () => clearTimeout(timer));
      this.once('end', () => {
        clearTimeout(timer);
        alive.delete(this);
      });
      // Without a listener a connection that breaks would end the process: whoever uses it hears of it anyway.
      this.on('error', () => {});
    }

    // pg itself would go on waiting for the other side to close.
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

/** What `work` comes to on this connection, if it does within `ms`: past that the connection is destroyed. */
export async function attempt<T>(client: pg.Client, ms: number, work: Promise<T>): Promise<T> {
  const timer = setTimeout(destroy, ms, client);
  try {
    return await work;
  } finally {
    clearTimeout(timer);
  }
}

// pg writes each message by itself, four to a statement: most of what a statement costs.
function oneWritePerTurn(connection: pg.Connection & Wire): void {
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

/** Breaks a connection off, with an error: pg then rejects whatever waits on it, its opening included. */
export function destroy(client: pg.Client): void {
  client.connection.stream.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' }));
}

/** What pg keeps of a session and knows of the protocol, and its types do not tell. */
type Session = { processID: number; secretKey: number };
export const sessionOf = (client: pg.Client) => client as pg.Client & Session;
type Wire = { startup(): void; cancel(processID: number, secretKey: number): void; _send(message: Buffer): void };

/**
 * Asks the server to cancel what `target` is at: the protocol's own request, which names a session by a secret, sent
 * on `client`, a new one, in place of a log-in. Rejects where it could not be sent.
 */
export async function requestCancel(client: pg.Client, target: pg.Client): Promise<void> {
  const { processID, secretKey } = sessionOf(target);
  const wire = client.connection as pg.Connection & Wire;
  let asked = false;
  wire.startup = () => {
    asked = true;
    wire.cancel(processID, secretKey);
  };
  // The server's answer is to close, which to pg is a failure to connect.
  await client.connect().catch((error) => {
    if (!asked) throw error;
  });
}

/** Whether a connection failed because nothing was heard on it, be it our limit or the kernel's. */
function isSilence(error: unknown): boolean {
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
 * Knows which connections may be believed to live, and to be of use. They die together and without a word: after one
 * kept silent, only those heard since are trusted. One that is read-only may stay so when the database is not any more:
 * it is trusted for a second, or until another turns out otherwise. An outage is one line when it begins, and one when
 * it is over.
 */
export function connectionTrust(log: Log) {
  const outage = outageLog(log, 'database');
  const heardAfter = new WeakMap<pg.Client, number>();
  const openedAt = new WeakMap<pg.Client, number>();
  const readOnly = new WeakSet<pg.Client>();
  let writableAt = Number.NEGATIVE_INFINITY;
  let silences = 0;
  let answers = 0;
  const trusts = (client: pg.Client) => heardAfter.get(client) === silences && !isOutdated(client);
  function isOutdated(client: pg.Client): boolean {
    if (!readOnly.has(client)) return false;
    const at = openedAt.get(client) as number;
    return at <= writableAt || performance.now() - at > READ_ONLY_MS;
  }
  return {
    opened(client: pg.Client, isReadOnly: boolean): void {
      heardAfter.set(client, silences);
      openedAt.set(client, performance.now());
      if (isReadOnly) readOnly.add(client);
      else writableAt = performance.now();
    },
    trusts,
    /** How many answers there were, on any connection. */
    answers: () => answers,
    /** A connection that could not be opened. */
    refused: outage.lost,
    /** An answer, be it an error. */
    heard(client: pg.Client, error?: pg.DatabaseError | null): void {
      if (error?.code === READ_ONLY) readOnly.add(client);
      answers++;
      heardAfter.set(client, silences);
      outage.back();
    },
    /** A connection that broke. One that nobody trusts any more tells nothing new. */
    lost(client: pg.Client, error: unknown): void {
      if (!trusts(client)) return;
      if (isSilence(error)) silences++;
      outage.lost(error);
    },
  };
}
