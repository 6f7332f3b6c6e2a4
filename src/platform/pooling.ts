import type pg from 'pg';
import { toDbError } from '../db.ts';
import { attempt, sessionOf } from './pg-client.ts';

/** Milliseconds for which a pooler that has no connection for us is waited for. */
const WAIT_MS = 2000;
/** Connections beside the first: of a pooler with several processes, which do not share, one comes to have two. */
const OTHERS = 4;

/**
 * Whether `first` has a session of its own, as it has not where a pooler lends connections for a transaction at a time.
 * No is certain; yes is as good as certain, of a pooler that is idle and of one that is busy. Rejects with a DbError.
 */
export async function hasSession(first: pg.Client, makeClient: () => pg.Client): Promise<boolean> {
  const backend = await attempt(first, WAIT_MS, backendOf(first)).catch((error) => {
    throw toDbError(error);
  });
  // Nothing is in between, where the session's key names its backend.
  if (backend === sessionOf(first).processID) return true;
  const clients = [first];
  const owners = new Map([[backend, first]]);
  const isAnothers = async (client: pg.Client) => {
    const now = await attempt(client, WAIT_MS, backendOf(client));
    const isOwn = (owners.get(now) ?? client) === client;
    owners.set(now, client);
    return !isOwn;
  };
  try {
    for (let n = 0; n < OTHERS; n++) {
      const client = makeClient();
      clients.push(client);
      await attempt(client, WAIT_MS, client.connect());
      if (await isAnothers(client)) return false;
    }
    for (const client of clients) if (await isAnothers(client)) return false;
    // Each had one backend, and kept it.
    return owners.size === clients.length;
  } catch {
    // In transaction mode there would have been a connection: all of these are idle.
    return true;
  } finally {
    for (const client of clients.slice(1)) void client.end();
  }
}

async function backendOf(client: pg.Client): Promise<number> {
  return (await client.query('select pg_backend_pid() as pid')).rows[0].pid;
}
