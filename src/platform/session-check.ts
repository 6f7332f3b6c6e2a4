import type pg from 'pg';
import { toDbError } from '../db.ts';
import { sessionOf, withTimeLimit } from './pg-client.ts';

/** Milliseconds to wait for a pooler that has no free connection. */
const WAIT_MS = 2000;
/** Further connections: if the pooler has several processes, one of them gets at least two. */
const OTHERS = 4;

/**
 * Whether `first` has a session of its own, which it does not have behind a pooler in transaction mode. False is
 * certain, true is nearly certain, whether the pooler is idle or busy. Rejects with a DbError.
 */
export async function hasSession(first: pg.Client, makeClient: () => pg.Client): Promise<boolean> {
  const backend = await withTimeLimit(first, WAIT_MS, backendOf(first)).catch((error) => {
    throw toDbError(error);
  });
  // The session's key has its backend's process id: there is no pooler.
  if (backend === sessionOf(first).processID) return true;
  const clients = [first];
  const owners = new Map([[backend, first]]);
  const isAnothers = async (client: pg.Client) => {
    const now = await withTimeLimit(client, WAIT_MS, backendOf(client));
    const isOwn = (owners.get(now) ?? client) === client;
    owners.set(now, client);
    return !isOwn;
  };
  try {
    for (let n = 0; n < OTHERS; n++) {
      const client = makeClient();
      clients.push(client);
      await withTimeLimit(client, WAIT_MS, client.connect());
      if (await isAnothers(client)) return false;
    }
    for (const client of clients) if (await isAnothers(client)) return false;
    // Each connection kept its backend.
    return owners.size === clients.length;
  } catch {
    // In transaction mode a connection would have been free, because all of these are idle.
    return true;
  } finally {
    for (const client of clients.slice(1)) void client.end();
  }
}

async function backendOf(client: pg.Client): Promise<number> {
  return (await client.query('select pg_backend_pid() as pid')).rows[0].pid;
}
