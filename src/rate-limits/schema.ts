import { index, integer, pgTable, text, timestamp } from 'drizzle-orm/pg-core';

/** One row per key and window, for processes that share quotas. Losing rows only resets quotas. */
export const rateLimits = pgTable(
  'rate_limits',
  {
    key: text().primaryKey(),
    count: integer().notNull(),
    endsAt: timestamp('ends_at', { withTimezone: true }).notNull(),
  },
  (t) => [index('rate_limits_ends').on(t.endsAt)],
);
