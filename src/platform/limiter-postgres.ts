import { createHash } from 'node:crypto';
import { BoundedMap } from '../bounded-map.ts';
import type { Db } from '../db.ts';
import type { Limiter, Log, Quota } from '../deps.ts';
import { pruneWindows, takeOne, type WindowRow } from '../rate-limits/store.ts';

type Options = { db: Db; log: Log; limit: number; windowS: number; now?: () => number };

/** A database that does not say by then is not worth the wait. */
const TIMEOUT_MS = 1000;
/** Each take leaves one row at most, so that pruning twice as many keeps ahead of them. */
const PRUNE_EVERY = 500;
const PRUNE_AT_MOST = 1000;
/** Refused keys remembered at most; past it the oldest is forgotten. */
const MAX_REFUSED = 10_000;

/**
 * Fixed windows in the database, shared by every process, at the price of a round trip. A key once refused costs none
 * until its window ends: this process remembers it. Lets everything pass while the database is away.
 */
export function postgresLimiter({ db, log, limit, windowS, now = () => performance.now() }: Options): Limiter {
  const refused = new BoundedMap<string, number>(MAX_REFUSED);
  let takes = 0;

  function refusal(key: string): Quota | undefined {
    const until = refused.get(key);
    if (until === undefined) return undefined;
    if (until > now()) return { allowed: false, remaining: 0, resetS: (until - now()) / 1000 };
    refused.delete(key);
    return undefined;
  }

  function refuse(key: string, { resetS }: WindowRow): Quota {
    refused.set(key, now() + resetS * 1000);
    return { allowed: false, remaining: 0, resetS };
  }

  async function orPass<T>(ask: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    try {
      return await ask(AbortSignal.timeout(TIMEOUT_MS));
    } catch (error) {
      log.error('rate limit not counted', { error });
      return undefined;
    }
  }

  return {
    limit,
    window: windowS,
    async take(name) {
      const key = hash(name);
      const known = refusal(key);
      if (known) return known;
      if (takes++ % PRUNE_EVERY === 0) void orPass((signal) => pruneWindows(db, PRUNE_AT_MOST, signal));
      const row = await orPass((signal) => takeOne(db, key, windowS, signal));
      if (!row) return { allowed: true };
      if (row.count > limit) return refuse(key, row);
      return { allowed: true, remaining: limit - row.count, resetS: row.resetS };
    },
  };
}

// Keys hold addresses and subjects, which are nobody's business there, and may be longer than an index takes.
function hash(name: string): string {
  return createHash('sha256').update(name).digest('base64url');
}
