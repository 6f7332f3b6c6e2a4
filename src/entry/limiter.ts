import type { Db } from '../db.ts';
import type { Limiter, Log } from '../deps.ts';
import { memoryLimiter } from '../platform/limiter-memory.ts';
import { postgresLimiter } from '../platform/limiter-postgres.ts';
import type { Worker } from '../platform/worker.ts';
import type { Config } from './config.ts';

/** Creates the configured rate limiter, which counts across all processes of one primary, or all on one database. */
export function createLimiter({ rateLimit }: Config, db: Db, log: Log, worker: Worker | undefined): Limiter {
  const { max: limit, windowS, store } = rateLimit;
  if (store === 'postgres') return postgresLimiter({ db, log, limit, windowS });
  const limiter = memoryLimiter(limit, windowS);
  return worker?.share(limiter) ?? limiter;
}
