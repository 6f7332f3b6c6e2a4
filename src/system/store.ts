import { sql } from 'drizzle-orm';
import journal from '../../drizzle/meta/_journal.json' with { type: 'json' };
import { type Db, DbError, statement } from '../db.ts';

const LATEST = Math.max(...journal.entries.map((entry) => entry.when));

const current = statement<{ latest: string }, { current: boolean }>(
  'system.current',
  ($) =>
    sql`select coalesce(max(created_at) >= ${$.latest}::bigint, false) as current from drizzle.__drizzle_migrations`,
);

const UNDEFINED_TABLE = '42P01';

/** Whether the database has every migration that this code was built with. Later ones do no harm. */
export async function schemaIsCurrent(db: Db, signal: AbortSignal): Promise<boolean> {
  try {
    const [row] = await db.run(current, { latest: String(LATEST) }, signal);
    return row?.current ?? false;
  } catch (error) {
    if (error instanceof DbError && error.sqlState === UNDEFINED_TABLE) return false;
    throw error;
  }
}
