import { sql } from 'drizzle-orm';
import { type Db, type Joined, statement } from '../db.ts';
import { AppError } from '../errors.ts';
import { AFTER_ALL, noSuch, tableStore } from '../table-store.ts';
import { type Action, ActionView, actions, record } from './schema.ts';

export const findAction = tableStore(ActionView, 'action').find;

const list = statement<{ before: string; limit: number }, Action>(
  'actions.newest',
  ($) => sql`
    select ${ActionView.columns()} from ${actions} where id < ${$.before}::uuid order by id desc limit ${$.limit}::int`,
  'reads',
);

/** Returns actions before the id `after`, newest first; one more than `limit` if there are more. */
export function listActions(
  db: Db,
  { after, limit }: { after: string | null; limit: number },
  signal: AbortSignal,
): Promise<Action[]> {
  return db.run(list, { before: after ?? AFTER_ALL, limit: limit + 1 }, signal);
}

// Waits for the batch under way, and then checks the status again.
const stop = statement<{ id: string; sub: string }, { found: boolean } & Joined<Action>>(
  'actions.stop',
  ($) => sql`
    with stopped as (
      update ${actions} set status = 'stopped', finished_at = now() where id = ${$.id}::uuid and status = 'running'
      returning *
    ), ${record('action.stop', $.sub, sql`stopped`)}
    select exists (select from ${actions} where id = ${$.id}::uuid) as found, ${ActionView.columns('stopped')}
    from (select) one left join stopped on true`,
);

/** Stops a running action. Its completed changes are kept. Throws AppError `not-found`, `conflict`. */
export async function stopAction(db: Db, by: { id: string; sub: string }, signal: AbortSignal): Promise<Action> {
  const [row] = await db.run(stop, by, signal);
  if (!row?.found) throw noSuch('action');
  if (row.id === null) throw new AppError('conflict', 'Only a running action can be stopped.');
  const { found: _, ...action } = row;
  return action as Action;
}
