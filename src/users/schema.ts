import { type SQLWrapper, sql } from 'drizzle-orm';
import { integer, pgTable, text as pgText, uniqueIndex, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod/mini';
import { time } from '../db.ts';
import { documented, email, lazy, type Of, text } from '../fields.ts';
import { pageQuery } from '../http/page.ts';
import { view } from '../view.ts';

/**
 * An email address in the form that is compared. Collation "C" limits case to ASCII, whatever the database's language:
 * in Turkish, I is not the upper case of i.
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
    // For 0.1.0, while it still runs. It refuses nothing that the other index accepts. To be dropped in 0.3.0.
    uniqueIndex('users_email_unique').on(sql`lower(${t.email})`),
  ],
);

const example = { email: 'ada@example.com', name: 'Ada Lovelace' };

/** What POST and PUT take. */
export const UserInput = lazy(() =>
  documented(z.strictObject({ email: email(), name: text(1, 200) }), { id: 'UserInput', examples: [example] }),
);
export type UserInput = Of<typeof UserInput>;

/** What a list can be filtered by. */
export const UserQuery = lazy(() => z.extend(pageQuery(), { email: z.optional(email()) }));

/** What the API shows. */
export const UserView = view('User', users, {
  example,
  schemas: { email: () => documented(z.string(), { format: 'email' }) },
});
export type User = NonNullable<typeof UserView.row>;
