import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Log } from '../deps.ts';
import { outageLog, pgClients, settlesWithin, withTimeLimit } from './pg-client.ts';

/** The NOTIFY channel that all processes on a database share. */
const CHANNEL = 'keelson_due';
/** Milliseconds between two NOTIFYs. Rings in between are combined. */
const RING_EVERY_MS = 10;
/** Milliseconds that a statement of the doorbell may take. */
const ANSWER_MS = 2000;
/** Milliseconds between checks of the LISTEN connection. */
const ASK_EVERY_MS = 3000;
/** Milliseconds before a lost LISTEN connection is replaced. It doubles with each failure. */
const RECONNECT_MS = 250;
const RECONNECT_MAX_MS = 5000;
/** Milliseconds that pending rings get when the doorbell is closed. */
const CLOSE_MS = 1000;

type Bell = {
  /** Returns at once. Never throws. */
  ring(changedEndpointId?: string): void;
  close(): Promise<void>;
};

/** Opens a connection. Rejects once the doorbell is closed. */
type Connect = () => Promise<pg.Client>;

/**
 * Lets processes on one Postgres ring each other's dispatchers, by NOTIFY. `ring` notifies after the commit, so that
 * writers do not queue for NOTIFY's lock. Rings in quick succession are combined. With `onRing`, it listens on its own
 * connection, which is replaced when it is lost or silent. It then calls `onRing` once, for missed rings.
 */
export function postgresDoorbell(url: string, log: Log, onRing?: (changedEndpointId?: string) => void): Bell {
  const { Client, destroyAll } = pgClients(url, 'keelson-doorbell');
  const closing = new AbortController();
  const connect: Connect = async () => {
    closing.signal.throwIfAborted();
    const client = new Client();
    await client.connect();
    return client;
  };
  const ringer = createRinger(connect, closing.signal, log);
  const listening = onRing && keepListening(connect, closing.signal, log, onRing);
  return {
    ring: ringer.ring,
    async close() {
      await settlesWithin(ringer.done(), CLOSE_MS);
      closing.abort();
      destroyAll();
      await Promise.all([ringer.done(), listening]);
    },
  };
}

/** Sends rings one NOTIFY after the other. `done` resolves when none is left. */
function createRinger(connect: Connect, closed: AbortSignal, log: Log) {
  const health = outageLog(log, 'NOTIFY');
  const rings = new Set<string>();
  let client: Promise<pg.Client> | undefined;
  let ringing: Promise<void> | undefined;

  async function sendRings(): Promise<void> {
    while (rings.size > 0 && !closed.aborted) {
      const ids = [...rings];
      rings.clear();
      // Retry on a new connection: the old one may have died long ago.
      const sent = notify(ids)
        .catch(() => notify(ids))
        .then(health.back, health.lost);
      await Promise.all([sent, delay(RING_EVERY_MS)]);
    }
    ringing = undefined;
  }

  async function notify(ids: string[]): Promise<void> {
    client ??= connectRinger(connect);
    let open: pg.Client | undefined;
    try {
      open = await client;
      const text = `select pg_notify('${CHANNEL}', id) from unnest($1::text[]) id`;
      await withTimeLimit(open, ANSWER_MS, open.query({ name: 'ring', text, values: [ids] }));
    } catch (error) {
      client = undefined;
      void open?.end();
      throw error;
    }
  }

  return {
    ring(changedEndpointId = '') {
      rings.add(changedEndpointId);
      ringing ??= sendRings();
    },
    done: async () => ringing,
  };
}

/** A ring is a hint that a crash may lose: it does not wait for the disk. */
async function connectRinger(connect: Connect): Promise<pg.Client> {
  const client = await connect();
  await withTimeLimit(client, ANSWER_MS, client.query('set synchronous_commit = off'));
  return client;
}

/** Listens until the doorbell is closed, on a new connection whenever one is lost. */
async function keepListening(
  connect: Connect,
  closed: AbortSignal,
  log: Log,
  onRing: (changedEndpointId?: string) => void,
): Promise<void> {
  const health = outageLog(log, 'LISTEN');
  let failures = 0;
  while (!closed.aborted) {
    try {
      await listen(await connect(), onRing, () => {
        failures = 0;
        health.back();
      });
    } catch (error) {
      if (closed.aborted) return;
      health.lost(error);
      const wait = Math.min(RECONNECT_MAX_MS, RECONNECT_MS * 2 ** failures++);
      await delay(wait, undefined, { signal: closed }).catch(() => {});
    }
  }
}

/** Listens until the connection breaks or stays silent. */
async function listen(
  client: pg.Client,
  onRing: (changedEndpointId?: string) => void,
  onListening: () => void,
): Promise<void> {
  const ask = (text: string) => withTimeLimit(client, ANSWER_MS, client.query(text));
  let asking: ReturnType<typeof setInterval> | undefined;
  try {
    client.on('notification', ({ payload }) => onRing(payload || undefined));
    await ask(`listen ${CHANNEL}`);
    onListening();
    // For earlier rings.
    onRing();
    asking = setInterval(() => ask('select 1').catch(() => {}), ASK_EVERY_MS);
    await once(client, 'end');
  } finally {
    clearInterval(asking);
    void client.end();
  }
}
