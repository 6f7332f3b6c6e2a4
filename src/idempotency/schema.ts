import { index, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';
import { time } from '../db.ts';

/**
 * One row per accepted POST with an Idempotency-Key, committed with its change. The console stores sign-in links and
 * the inbox here, too, with the subject `console`. Rows are in chronological order, so that a block range index finds
 * the old ones at almost no cost per write.
 */
export const idempotencyKeys = pgTable(
  'idempotency_keys',
  {
    subject: text().notNull(),
    route: text().notNull(),
    key: text().notNull(),
    fingerprint: text().notNull(),
    holder: uuid().notNull(),
    response: text().notNull(),
    createdAt: time('created_at').notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.subject, t.route, t.key] }),
    index('idempotency_keys_old').using('brin', t.createdAt),
  ],
);
