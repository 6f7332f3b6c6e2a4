import pg from 'pg';
import { toDbError } from '../db.ts';
import type { Log } from '../deps.ts';

/** What processes on one database listen to. */
const CHANNEL = 'keelson_due';
const RECONNECT_MS = 1000;

type Bell = { ring(): void; close(): Promise<void> };

/**
 * Lets processes on one Postgres ring each other's dispatchers. `ring` notifies after the commit, never with it, so
 * that writers do not queue for NOTIFY's lock; many rings while one is on its way are one. With `onRing` it listens,
 * on a connection of its own that is opened again when it is lost: what was missed meanwhile waits for the tick.
 */
export function postgresDoorbell(url: string, log: Log, onRing?: () => void): Bell {
  const ringer = new pg.Pool({ connectionString: url, max: 1, connectionTimeoutMillis: 2000 });
  ringer.on('error', () => {});
  let ringing = false;
  let again = false;
  let closed = false;
  let listener: pg.Client | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;

  async function ring(): Promise<void> {
    again = ringing;
    if (ringing) return;
    ringing = true;
    await ringer.query(`notify ${CHANNEL}`).catch((error) => {
      log.warn('cannot ring the dispatchers', { error: toDbError(error) });
    });
    ringing = false;
    if (again && !closed) void ring();
  }

  async function listen(onRing: () => void): Promise<void> {
    const client = new pg.Client({ connectionString: url, application_name: 'keelson-doorbell', keepAlive: true });
    listener = client;
    client.on('notification', onRing);
    client.on('error', (error) => log.warn('doorbell lost', { error: toDbError(error) }));
    client.on('end', () => {
      if (!closed) retry = setTimeout(listen, RECONNECT_MS, onRing);
    });
    try {
      await client.connect();
      await client.query(`listen ${CHANNEL}`);
      onRing();
    } catch (error) {
      log.warn('cannot listen for rings', { error: toDbError(error) });
      await client.end().catch(() => {});
    }
  }

  if (onRing) void listen(onRing);
  return {
    ring: () => void ring(),
    close: async () => {
      closed = true;
      clearTimeout(retry);
      await Promise.all([ringer.end(), listener?.end().catch(() => {})]);
    },
  };
}
