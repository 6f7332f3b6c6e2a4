import { integer, pgTable, text as pgText, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod';
import { time } from '../db.ts';
import { text } from '../http/route.ts';

export const teams = pgTable('teams', {
  id: uuid().primaryKey(),
  name: pgText().notNull(),
  version: integer().notNull().default(1),
  createdAt: time('created_at').notNull(),
  updatedAt: time('updated_at').notNull(),
});

export type Team = typeof teams.$inferSelect;

/** What POST takes. */
export const TeamInput = z
  .strictObject({ name: text(1, 200) })
  .meta({ id: 'TeamInput', examples: [{ name: 'Analytical engines' }] });

/** What the API shows. */
export const TeamView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    version: z.int(),
    createdAt: z.iso.datetime({ precision: 3 }),
    updatedAt: z.iso.datetime({ precision: 3 }),
  })
  .meta({ id: 'Team' });
