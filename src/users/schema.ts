import { type SQLWrapper, sql } from 'drizzle-orm';
import { integer, pgTable, text as pgText, uniqueIndex, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod';
import { time } from '../db.ts';
import { email, text } from '../http/route.ts';

/**
 * An email address as it is compared. In the collation "C", so that case is ASCII's whatever the database's language:
 * in Turkish I is no upper case of i.
 */
export const caseless = (email: SQLWrapper) => sql`lower(${email} collate "C")`;

export const users = pgTable(
  'users',
  {
    id: uuid().primaryKey(),
    email: pgText().notNull(),
    name: pgText().notNull(),
    version: integer().notNull().default(1),
    createdAt: time('created_at').notNull(),
    updatedAt: time('updated_at').notNull(),
  },
  (t) => [
    uniqueIndex('users_email_caseless').on(caseless(t.email)),
    // For 0.1.0, while it still runs: it refuses nothing that the other does not. To be dropped in 0.3.0.
    uniqueIndex('users_email_unique').on(sql`lower(${t.email})`),
  ],
);

export type User = typeof users.$inferSelect;

/** What POST and PUT take. */
export const UserInput = z
  .strictObject({ email, name: text(1, 200) })
  .meta({ id: 'UserInput', examples: [{ email: 'ada@example.com', name: 'Ada Lovelace' }] });

export type UserInput = z.infer<typeof UserInput>;

/** What the API shows. */
export const UserView = z
  .object({
    id: z.uuid(),
    email: z.email(),
    name: z.string(),
    version: z.int(),
    createdAt: z.iso.datetime({ precision: 3 }),
    updatedAt: z.iso.datetime({ precision: 3 }),
  })
  .meta({
    id: 'User',
    examples: [
      {
        id: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
        email: 'ada@example.com',
        name: 'Ada Lovelace',
        version: 1,
        createdAt: '2026-11-22T10:00:00.000Z',
        updatedAt: '2026-11-22T10:00:00.000Z',
      },
    ],
  });
