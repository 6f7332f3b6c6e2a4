import type { buildConnector } from 'undici/index.js';
import Pool from 'undici/lib/dispatcher/pool.js';

/** How many origins may have open connections. Beyond that, the least recently used one is closed. */
const MAX_ORIGINS = 500;
const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_MAX_MS = 30_000;

type Options = {
  connect: buildConnector.connector;
  /** Further requests wait for one to end, within their time limit. */
  connectionsPerOrigin: number;
};

/** Creates a connection pool per origin, on first use. `close` destroys them, except evicted ones. */
export function createPools({ connect, connectionsPerOrigin }: Options) {
  /** Ordered by use. */
  const pools = new Map<string, Pool>();
  let newest: string | undefined;

  function newPool(origin: string): Pool {
    return new Pool(origin, {
      connect,
      connections: connectionsPerOrigin,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
      // The sender has one timer for the whole request.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  function evictLeastRecentlyUsed(): void {
    const [origin, pool] = pools.entries().next().value as [string, Pool];
    pools.delete(origin);
    // Requests under way on it are not interrupted.
    void pool.close();
  }

  return {
    of(origin: string): Pool {
      const pool = pools.get(origin) ?? newPool(origin);
      // Moving an entry for each delivery would give the map a new table every few times.
      if (origin === newest) return pool;
      newest = origin;
      pools.delete(origin);
      pools.set(origin, pool);
      if (pools.size > MAX_ORIGINS) evictLeastRecentlyUsed();
      return pool;
    },
    async close(): Promise<void> {
      await Promise.all(Array.from(pools.values(), (pool) => pool.destroy()));
    },
  };
}
