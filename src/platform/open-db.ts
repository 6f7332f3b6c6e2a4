import type { Db } from '../db.ts';

/** A database with its life cycle, as the entries hold it. */
export type OpenDb<D extends Db = Db> = {
  db: D;
  /** Waits for statements under way as long as answers come, and ends in seconds whatever the network does. */
  close(): Promise<void>;
  /** Whether connections have sessions of their own. False behind a pooler in transaction mode. */
  hasSessions?(): Promise<boolean>;
  /** The number of connections by state; zeros if there is no pool. */
  stats(): { total: number; idle: number; waiting: number };
};
