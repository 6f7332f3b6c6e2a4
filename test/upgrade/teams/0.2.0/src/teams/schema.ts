import { integer, pgTable, text as pgText, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod/mini';
import { time } from '../db.ts';
import { documented, lazy, text } from '../fields.ts';
import { view } from '../view.ts';

export const teams = pgTable('teams', {
  id: uuid().primaryKey(),
  name: pgText().notNull(),
  version: integer().notNull().default(1),
  createdAt: time('created_at').notNull(),
  updatedAt: time('updated_at').notNull(),
});

const example = { name: 'Analytical engines' };

/** What POST takes. */
export const TeamInput = lazy(() =>
  documented(z.strictObject({ name: text(1, 200) }), { id: 'TeamInput', examples: [example] }),
);

/** What the API shows. */
export const TeamView = view('Team', teams, { example });
export type Team = NonNullable<typeof TeamView.row>;
