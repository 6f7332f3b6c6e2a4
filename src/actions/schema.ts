import { type Placeholder, type SQL, sql } from 'drizzle-orm';
import { index, integer, json, pgTable, text, uuid } from 'drizzle-orm/pg-core';
import { time } from '../db.ts';
import { view } from '../view.ts';

const uuidv7 = sql`uuid_v7()`;

/**
 * What people did: a row per action, written by the statement that acts. A bulk action, on all notifications that match
 * a filter, is a job, which dispatchers do in batches: `done` counts its changes, and `cursor` is how far it has come.
 */
export const actions = pgTable(
  'actions',
  {
    id: uuid().primaryKey().default(uuidv7),
    action: text().notNull(),
    sub: text().notNull(),
    targetId: uuid('target_id'),
    filter: json().$type<Record<string, unknown>>(),
    status: text({ enum: ['running', 'finished', 'stopped'] })
      .notNull()
      .default(sql`'finished'`),
    matching: integer().notNull().default(1),
    done: integer().notNull().default(1),
    cursor: uuid().notNull().default(sql`'00000000-0000-0000-0000-000000000000'`),
    createdAt: time('created_at').notNull().defaultNow(),
    finishedAt: time('finished_at').defaultNow(),
  },
  (t) => [index('actions_running').on(t.id).where(sql`${t.status} = 'running'`)],
);

/** What the API shows. It identifies targets by ids and filters only: neither addresses nor URLs. */
export const ActionView = view('Action', actions, {
  only: ['id', 'action', 'sub', 'targetId', 'filter', 'status', 'matching', 'done', 'createdAt', 'finishedAt'],
  example: {
    action: 'notifications.redrive',
    sub: 'alice',
    targetId: null,
    filter: { type: 'invoice.paid' },
    status: 'running',
    matching: 1200,
    done: 500,
    finishedAt: null,
  },
});
export type Action = NonNullable<typeof ActionView.row>;

/**
 * The CTE `recorded`, for the statement that acts: an action by `sub` for each row of the CTE `on`, whose id is its
 * target. The name of the action says what was acted on and what was done, such as `webhook_endpoint.replace`.
 */
export function record(action: string, sub: Placeholder, on: SQL): SQL {
  return sql`recorded as (
    insert into ${actions} (action, sub, target_id) select ${sql.raw(`'${action}'`)}, ${sub}::text, id from ${on}
  )`;
}
