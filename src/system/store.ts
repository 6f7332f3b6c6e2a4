import { sql } from 'drizzle-orm';
import journal from '../../drizzle/meta/_journal.json' with { type: 'json' };
import { type Db, DbError, statement } from '../db.ts';

const LATEST = Math.max(...journal.entries.map((entry) => entry.when));

/** What a database is to this code. A standby is not `writable` either. */
type State = { current: boolean; writable: boolean };

const state = statement<{ latest: string }, State>(
  'system.state',
  ($) => sql`
    select coalesce(max(created_at) >= ${$.latest}::bigint, false) as current,
           current_setting('transaction_read_only') = 'off' as writable
    from drizzle.__drizzle_migrations`,
);

const UNDEFINED_TABLE = '42P01';

/** Whether the database has every migration that this code was built with (later ones do no harm), and takes writes. */
export async function databaseState(db: Db, signal: AbortSignal): Promise<State> {
  try {
    const [row] = await db.run(state, { latest: String(LATEST) }, signal);
    return row ?? { current: false, writable: false };
  } catch (error) {
    if (error instanceof DbError && error.sqlState === UNDEFINED_TABLE) return { current: false, writable: false };
    throw error;
  }
}
