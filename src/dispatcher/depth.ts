import { sql } from 'drizzle-orm';
import { type Db, oneRow, statement } from '../db.ts';
import { deliveries, isPaused, outcomes, webhookEndpoints } from '../outbox/schema.ts';

/**
 * The number of notifications by state. Beyond 10,000 finished ones, `sent` is the planner's estimate: counting millions
 * would cost too much. `oldestDueS` ignores paused endpoints.
 */
export type QueueDepth = { pending: number; sent: number; dead: number; canceled: number; oldestDueS: number };

/** How many finished notifications are counted. */
const COUNTED = sql.raw('10000');

const depth = statement<Record<never, never>, QueueDepth>(
  'deliveries.depth',
  () => sql`
    select queue.pending::float8 as pending, not_sent.dead::float8 as dead, not_sent.canceled::float8 as canceled,
           greatest(0, case when first.finished < ${COUNTED} then first.finished
             else greatest(first.finished, estimate.rows) end - not_sent.dead - not_sent.canceled)::float8 as sent,
           coalesce(extract(epoch from now() - queue.oldest), 0)::float8 as "oldestDueS"
    from (
      select count(*) as pending, min(d.due_at) filter (where d.due_at <= now() and e.id is null) as oldest
      from ${deliveries} d
      left join ${webhookEndpoints} e on e.id = d.endpoint_id and ${isPaused(sql`e`)}
    ) queue, (
      select count(*) filter (where status = 'dead') as dead, count(*) filter (where status = 'canceled') as canceled
      from ${outcomes} where status <> 'sent'
    ) not_sent, (
      select count(*) as finished from (select from ${outcomes} limit ${COUNTED}) row
    ) first, (
      select greatest(reltuples, 0) as rows from pg_class where oid = 'outcomes'::regclass
    ) estimate`,
);

export const queueDepth = (db: Db, signal: AbortSignal): Promise<QueueDepth> => oneRow(db, depth, {}, signal);
