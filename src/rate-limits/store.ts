import { sql } from 'drizzle-orm';
import { type Db, oneRow, statement } from '../db.ts';
import { rateLimits } from './schema.ts';

/** The requests of a key in its window, and the seconds until the window ends. */
export type WindowRow = { count: number; resetS: number };

const resetS = sql`extract(epoch from ${rateLimits.endsAt} - now())::float8 as "resetS"`;
const ended = sql`${rateLimits.endsAt} <= now()`;

const take = statement<{ key: string; windowS: number }, WindowRow>(
  'rate_limits.take',
  ($) => sql`
    insert into ${rateLimits} (key, count, ends_at)
    values (${$.key}::text, 1, now() + ${$.windowS}::int * interval '1 second')
    on conflict (key) do update set
      count = case when ${ended} then 1 else ${rateLimits.count} + 1 end,
      ends_at = case when ${ended} then excluded.ends_at else ${rateLimits.endsAt} end
    returning count, ${resetS}`,
);

const prune = statement<{ limit: number }, { key: string }>(
  'rate_limits.prune',
  ($) => sql`
    delete from ${rateLimits} where key in (
      select key from ${rateLimits} where ${ended} order by ends_at limit ${$.limit}::int for update skip locked
    )`,
);

/** Counts one request of the key, in a new window if the last one has ended, by the database's clock. */
export const takeOne = (db: Db, key: string, windowS: number, signal: AbortSignal): Promise<WindowRow> =>
  oneRow(db, take, { key, windowS }, signal);

/** Deletes at most `limit` windows that have ended. */
export async function pruneWindows(db: Db, limit: number, signal: AbortSignal): Promise<void> {
  await db.run(prune, { limit }, signal);
}
