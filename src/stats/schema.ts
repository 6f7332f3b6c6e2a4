import { type SQL, sql } from 'drizzle-orm';
import { bigint, integer, pgTable, primaryKey, smallint, text } from 'drizzle-orm/pg-core';
import * as z from 'zod/mini';
import { time } from '../db.ts';
import { time as aTime, documented, lazy, type Of } from '../fields.ts';

/**
 * Attempts, counted by the statement that settles them: per minute and dispatcher, so that no two dispatchers write to
 * one row. `bucket` is the bucket of the time from enqueue to delivery (see `bucketOf`), 0 unless sent. `firsts` counts
 * first attempts. `waitMs` is the sum of their times from enqueue to start; `runMs` is the sum of all durations.
 */
export const deliveryStats = pgTable(
  'delivery_stats',
  {
    minute: time('minute').notNull(),
    dispatcher: text().notNull(),
    outcome: text({ enum: ['sent', 'retry', 'dead'] }).notNull(),
    bucket: smallint().notNull(),
    count: integer().notNull(),
    firsts: integer().notNull(),
    waitMs: bigint('wait_ms', { mode: 'number' }).notNull(),
    runMs: bigint('run_ms', { mode: 'number' }).notNull(),
  },
  (t) => [primaryKey({ columns: [t.minute, t.dispatcher, t.outcome, t.bucket] })],
);

/** Buckets per doubling of a time: the middle of a bucket is within 10 percent of each value in it. */
const PER_DOUBLING = 4;
const perDoubling = sql.raw(String(PER_DOUBLING));
/** The bucket of `ms`, and the milliseconds in the middle of `bucket`. */
export const bucketOf = (ms: SQL): SQL =>
  sql`floor(ln(greatest(1, ${ms})) * ${sql.raw(String(PER_DOUBLING / Math.LN2))}::float8)::int`;
export const middleOf = (bucket: SQL): SQL => sql`(2 ^ ((${bucket} + 0.5) / ${perDoubling}))`;

/** Dispatchers, as their claims report them: `everyMs` is the longest time from one claim to the next. */
export const dispatchers = pgTable('dispatchers', {
  id: text().primaryKey(),
  lastSeen: time('last_seen').notNull(),
  everyMs: integer('every_ms').notNull(),
});

const count = () => z.int().check(z.minimum(0));
/** An exact number, or an estimate where counting would cost too much. */
const counted = () => z.object({ count: count(), estimated: z.boolean() });
const ms = () => z.nullable(z.number());

const at = '2026-11-26T10:00:00.000Z';
const exactly = (count: number) => ({ count, estimated: false });
const example = {
  minutes: [{ at, sent: 118, retry: 3, dead: 1 }],
  latencyMs: { p50: 9, p99: 84 },
  waitMs: 4,
  runMs: 21,
  depth: {
    pending: exactly(12),
    sent: { count: 81_000, estimated: true },
    dead: exactly(1),
    canceled: exactly(0),
  },
  oldestDueS: 0.2,
  endpoints: { enabled: exactly(4), paused: exactly(1), disabled: exactly(0) },
  dispatchers: [{ id: 'api-1:4711', lastSeen: at, alive: true }],
};

/** What the API shows. */
export const StatsView = lazy(() =>
  documented(
    z.object({
      minutes: documented(z.array(z.object({ at: aTime(), sent: count(), retry: count(), dead: count() })), {
        description: 'Attempts by outcome in each of the last 60 minutes, oldest first. The last one is not over.',
      }),
      latencyMs: documented(z.object({ p50: ms(), p99: ms() }), {
        description: 'From enqueue to delivery, in the last hour. Within 10 percent. Null if nothing was sent.',
      }),
      waitMs: documented(ms(), {
        description: 'Mean time from enqueue to the first attempt, in the last hour.',
      }),
      runMs: documented(ms(), { description: 'Mean duration of an attempt, in the last hour.' }),
      depth: documented(z.object({ pending: counted(), sent: counted(), dead: counted(), canceled: counted() }), {
        description: 'Notifications by status.',
      }),
      oldestDueS: documented(z.nullable(z.number()), {
        description: 'Age of the oldest due notification that is not for a paused endpoint, in seconds.',
      }),
      endpoints: documented(z.object({ enabled: counted(), paused: counted(), disabled: counted() }), {
        description: 'Webhook endpoints by status.',
      }),
      dispatchers: documented(z.array(z.object({ id: z.string(), lastSeen: aTime(), alive: z.boolean() })), {
        description:
          'Dispatchers seen in the last hour, most recent first. `alive` is false if a dispatcher is overdue.',
      }),
    }),
    { id: 'Stats', examples: [example] },
  ),
);
export type Stats = Of<typeof StatsView>;
