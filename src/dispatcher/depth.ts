import { sql } from 'drizzle-orm';
import { type Db, statement } from '../db.ts';
import { deliveries, outcomes } from '../outbox/schema.ts';

/** The number of notifications by state. `sent` is the planner's estimate: counting millions would cost too much. */
export type QueueDepth = { pending: number; sent: number; dead: number; canceled: number; oldestDueS: number };

const depth = statement<Record<never, never>, QueueDepth>(
  'deliveries.depth',
  () => sql`
    select queue.pending::float8 as pending, not_sent.dead::float8 as dead, not_sent.canceled::float8 as canceled,
           greatest(0, estimate.rows - not_sent.dead - not_sent.canceled)::float8 as sent,
           coalesce(extract(epoch from now() - queue.oldest), 0)::float8 as "oldestDueS"
    from (
      select count(*) as pending, min(due_at) filter (where due_at <= now()) as oldest from ${deliveries}
    ) queue, (
      select count(*) filter (where status = 'dead') as dead, count(*) filter (where status = 'canceled') as canceled
      from ${outcomes} where status <> 'sent'
    ) not_sent, (
      select greatest(reltuples, 0) as rows from pg_class where oid = 'outcomes'::regclass
    ) estimate`,
);

export async function queueDepth(db: Db, signal: AbortSignal): Promise<QueueDepth> {
  const [row] = await db.run(depth, {}, signal);
  if (!row) throw new Error('deliveries.depth returned no row');
  return row;
}
