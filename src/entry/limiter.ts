import type { Db } from '../db.ts';
import type { Limiter, Log } from '../deps.ts';
import { memoryLimiter } from '../platform/limiter-memory.ts';
import { postgresLimiter } from '../platform/limiter-postgres.ts';
import type { Config } from './config.ts';

/** The configured rate limiter: of this process alone, or shared by all on one database. */
export function createLimiter({ rateLimit }: Config, db: Db, log: Log): Limiter {
  const { max: limit, windowS, store } = rateLimit;
  return store === 'postgres' ? postgresLimiter({ db, log, limit, windowS }) : memoryLimiter(limit, windowS);
}
