import type { Db } from '../db.ts';

/** A database with its life cycle, as the entries hold it. */
export type OpenDb<D extends Db = Db> = {
  db: D;
  /** Waits for statements under way as long as answers come, and ends in seconds whatever the network does. */
  close(): Promise<void>;
  /** Whether connections have sessions of their own, which a pooler's transaction mode does not give; where there are any. */
  hasSessions?(): Promise<boolean>;
  /** Connections; zeros where there is no pool. */
  stats(): { total: number; idle: number; waiting: number };
};
