import { createHash } from 'node:crypto';
import { BoundedMap } from '../bounded-map.ts';
import type { Db } from '../db.ts';
import type { Limiter, Log, Quota } from '../deps.ts';
import { pruneWindows, takeOne, type WindowRow } from '../rate-limits/store.ts';
import { memoryLimiter } from './limiter-memory.ts';

type Options = {
  db: Db;
  log: Log;
  limit: number;
  windowS: number;
  /** Milliseconds to wait for the database: 1000 by default. */
  timeoutMs?: number;
  now?: () => number;
};

/** Each take adds at most one row, so that pruning twice as many keeps the table small. */
const PRUNE_EVERY = 500;
const PRUNE_LIMIT = 1000;
/** How many refused keys are remembered. Beyond it, the oldest is dropped. */
const MAX_REFUSED = 10_000;

/**
 * Limits by fixed windows in the database, shared by all processes, at the cost of a round trip per request. A refused
 * key costs none until its window ends: the process remembers it. While the database does not answer, the process
 * counts on its own.
 */
export function postgresLimiter(options: Options): Limiter {
  const { db, log, limit, windowS, timeoutMs = 1000, now = () => performance.now() } = options;
  const refused = new BoundedMap<string, number>(MAX_REFUSED);
  const fallback = memoryLimiter(limit, windowS);
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

  async function tryDatabase<T>(ask: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    try {
      return await ask(AbortSignal.timeout(timeoutMs));
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
      if (takes++ % PRUNE_EVERY === 0) void tryDatabase((signal) => pruneWindows(db, PRUNE_LIMIT, signal));
      const row = await tryDatabase((signal) => takeOne(db, key, windowS, signal));
      if (!row) return fallback.take(name);
      if (row.count > limit) return refuse(key, row);
      return { allowed: true, remaining: limit - row.count, resetS: row.resetS };
    },
  };
}

// Hashed: keys contain addresses and subjects, which must not be stored, and may be too long for an index.
function hash(name: string): string {
  return createHash('sha256').update(name).digest('base64url');
}
