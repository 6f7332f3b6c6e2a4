import type { Db } from '../db.ts';

/** An open database. */
export type OpenDb = {
  db: Db;
  /** Closes after statements under way have ended; within seconds, whatever the network does. */
  close(): Promise<void>;
  /** Whether connections have sessions of their own. False behind a pooler in transaction mode. */
  hasSessions?(): Promise<boolean>;
  /** The number of connections by state; zeros if there is no pool. */
  stats(): { total: number; idle: number; waiting: number };
};
