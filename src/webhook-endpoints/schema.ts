import { sql } from 'drizzle-orm';
import { integer, pgTable, text as pgText, timestamp, uuid } from 'drizzle-orm/pg-core';

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

/** Who is told what. Secrets are sealed (`secret-box.ts`); the last four columns are the dispatcher's. */
export const webhookEndpoints = pgTable('webhook_endpoints', {
  id: uuid().primaryKey(),
  url: pgText().notNull(),
  events: pgText().array().notNull(),
  description: pgText().notNull().default(''),
  secret: pgText().notNull(),
  previousSecret: pgText('previous_secret'),
  previousSecretUntil: time('previous_secret_until'),
  version: integer().notNull().default(1),
  createdAt: time('created_at').notNull(),
  updatedAt: time('updated_at').notNull(),
  status: pgText({ enum: ['enabled', 'paused', 'disabled'] })
    .notNull()
    .default(sql`'enabled'`),
  failures: integer().notNull().default(0),
  failingSince: time('failing_since'),
  pausedUntil: time('paused_until'),
});
