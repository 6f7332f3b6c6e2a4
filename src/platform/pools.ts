import type { buildConnector } from 'undici/index.js';
import Pool from 'undici/lib/dispatcher/pool.js';

/** Origins with connections kept open at most; past it the one longest unused is given up. */
const MAX_ORIGINS = 500;
const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_MAX_MS = 30_000;

type Options = {
  connect: buildConnector.connector;
  /** Requests beyond it wait for one to end, within their time. */
  connectionsPerOrigin: number;
};

/** A pool of connections for each origin, made when it is first asked for; `close` breaks them all off. */
export function createPools({ connect, connectionsPerOrigin }: Options) {
  const pools = new Map<string, Pool>();

  function newPool(origin: string): Pool {
    return new Pool(origin, {
      connect,
      connections: connectionsPerOrigin,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
      // The sender's timer covers everything, and once.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  function giveUpOldest(): void {
    const [origin, pool] = pools.entries().next().value as [string, Pool];
    pools.delete(origin);
    // What is under way there still ends as it would.
    void pool.close();
  }

  return {
    of(origin: string): Pool {
      const pool = pools.get(origin) ?? newPool(origin);
      // The map is in order of use.
      pools.delete(origin);
      pools.set(origin, pool);
      if (pools.size > MAX_ORIGINS) giveUpOldest();
      return pool;
    },
    async close(): Promise<void> {
      await Promise.all(Array.from(pools.values(), (pool) => pool.destroy()));
    },
  };
}
