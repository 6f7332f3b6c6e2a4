import { integer, pgTable, text as pgText, timestamp, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod';
import { text } from '../http/route.ts';

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 }).notNull();

export const teams = pgTable('teams', {
  id: uuid().primaryKey(),
  name: pgText().notNull(),
  version: integer().notNull().default(1),
  createdAt: time('created_at'),
  updatedAt: time('updated_at'),
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

export function viewOf(team: Team): z.infer<typeof TeamView> {
  return { ...team, createdAt: team.createdAt.toISOString(), updatedAt: team.updatedAt.toISOString() };
}
