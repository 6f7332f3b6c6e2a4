import { type SQL, sql } from 'drizzle-orm';
import { index, integer, jsonb, pgTable, text, timestamp, uuid } from 'drizzle-orm/pg-core';
import { time } from '../db.ts';

/** A previous secret, sealed, and the time until which it also signs (RFC 3339). */
export type PreviousSecret = { secret: string; until: string };

/**
 * Webhook endpoints. Secrets are sealed (`SecretBox`); previous ones are in order of rotation. The last five columns
 * are the state of delivery, written by settlements and by PUT, pause and enable.
 */
export const webhookEndpoints = pgTable(
  'webhook_endpoints',
  {
    id: uuid().primaryKey(),
    url: text().notNull(),
    events: text().array().notNull(),
    description: text().notNull().default(''),
    secret: text().notNull(),
    previousSecrets: jsonb('previous_secrets').$type<PreviousSecret[]>().notNull().default([]),
    // Unused since 0.2.0; to be dropped in 0.3.0.
    previousSecret: text('previous_secret'),
    previousSecretUntil: time('previous_secret_until'),
    version: integer().notNull().default(1),
    createdAt: time('created_at').notNull(),
    updatedAt: time('updated_at').notNull(),
    status: text({ enum: ['enabled', 'paused', 'disabled'] })
      .notNull()
      .default(sql`'enabled'`),
    failures: integer().notNull().default(0),
    failingSince: time('failing_since'),
    lastFailedAt: time('last_failed_at'),
    // Infinity: paused on request, until it is enabled.
    pausedUntil: time('paused_until'),
  },
  (t) => [
    // Without a pending list, which every write would have to scan.
    index('webhook_endpoints_events').using('gin', t.events).with({ fastupdate: false }),
    index('webhook_endpoints_not_enabled').on(t.status).where(sql`${t.status} <> 'enabled'`),
  ],
);

/** Whether deliveries to the endpoint `e` are paused at present. */
export const isPaused = (e: SQL): SQL => sql`${e}.status = 'paused' and ${e}.paused_until > now()`;

/** The previous secrets of the endpoint `e` that still sign, in order of their rotation, as jsonb. */
export const livePrevious = (e: SQL): SQL => sql`(
    select coalesce(jsonb_agg(p.entry order by p.nth), '[]')
    from jsonb_array_elements(${e}.previous_secrets) with ordinality p (entry, nth)
    where (p.entry ->> 'until')::timestamptz > now()
  )`;

/** The ids of the keys that sealed the secrets of the endpoint `e` that still sign: see `SecretBox`. */
export const keyIdsOf = (e: SQL): SQL => sql`array(
    select split_part(sealed, '.', 2) from (
      select ${e}.secret as sealed union all select entry ->> 'secret' from jsonb_array_elements(${livePrevious(e)}) entry
    ) all_of_them
  )`;

export type WebhookEndpoint = typeof webhookEndpoints.$inferSelect;

/** Messages: the exact bytes that are signed and sent, written once and shared by all recipients. */
export const messages = pgTable('messages', {
  id: uuid().primaryKey(),
  type: text().notNull(),
  body: text().notNull(),
  createdAt: time('created_at').notNull(),
  // From the request that caused the message, so that its trace can be followed to the deliveries.
  traceparent: text(),
});

/** Notifications: one row per message and recipient, written once. The id is the `webhook-id`. */
export const notifications = pgTable(
  'notifications',
  {
    id: uuid().primaryKey(),
    messageId: uuid('message_id').notNull(),
    channel: text({ enum: ['webhook', 'email'] }).notNull(),
    endpointId: uuid('endpoint_id'),
    userId: uuid('user_id'),
    recipient: text(),
    createdAt: time('created_at').notNull(),
  },
  (t) => [
    index('notifications_message').on(t.messageId),
    index('notifications_user').on(t.userId, t.id),
    index('notifications_channel').on(t.channel, t.id),
    index('notifications_endpoint').on(t.endpointId, t.id).where(sql`${t.endpointId} is not null`),
  ],
);

/**
 * The queue: one narrow row per unfinished notification, deleted when it is finished. `dueAt` is schedule, backoff
 * and lease in one: a claim moves it to the lease's end, so that an expired lease is due again. `messageId` saves a claim
 * the look-up of the notification; rows that 0.1.0 inserted have none. `bytes` is the size of the message's body,
 * `queuedAt` the time of the enqueue or of the redrive.
 */
export const deliveries = pgTable(
  'deliveries',
  {
    notificationId: uuid('notification_id').primaryKey(),
    endpointId: uuid('endpoint_id'),
    messageId: uuid('message_id'),
    dueAt: timestamp('due_at', { withTimezone: true }).notNull(),
    lease: uuid(),
    attempt: integer().notNull().default(0),
    bytes: integer().notNull().default(0),
    queuedAt: timestamp('queued_at', { withTimezone: true }).notNull().defaultNow(),
  },
  (t) => [index('deliveries_lane').on(sql`coalesce(${t.endpointId}, 'ffffffff-ffff-ffff-ffff-ffffffffffff')`, t.dueAt)],
);

/** The lane of the queue row `d`: its endpoint or, for email, a lane after all others. The same as in the index. */
export const laneOf = (d: SQL): SQL => sql`coalesce(${d}.endpoint_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')`;
/** The lane of all email, the last one. */
export const EMAIL_LANE = sql`'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid`;

/** The error of an attempt that a shutdown ended: not a failure of its endpoint. */
export const INTERRUPTED = 'interrupted by a shutdown';

/** Every attempt except the last one, which is in `outcomes`. A record of what happened. */
export const attempts = pgTable(
  'attempts',
  {
    notificationId: uuid('notification_id').notNull(),
    at: time('at').notNull(),
    durationMs: integer('duration_ms').notNull(),
    status: integer(),
    error: text(),
    dispatcher: text().notNull(),
  },
  (t) => [index('attempts_notification').on(t.notificationId, t.at)],
);

/**
 * How a notification ended, and its last attempt: inserted when its queue row is deleted, so that history never touches
 * the queue.
 */
export const outcomes = pgTable(
  'outcomes',
  {
    notificationId: uuid('notification_id').primaryKey(),
    status: text({ enum: ['sent', 'dead', 'canceled'] }).notNull(),
    attempts: integer().notNull(),
    lastError: text('last_error'),
    finishedAt: time('finished_at').notNull(),
    durationMs: integer('duration_ms'),
    httpStatus: integer('http_status'),
    dispatcher: text(),
  },
  (t) => [index('outcomes_not_sent').on(t.status, t.notificationId).where(sql`${t.status} <> 'sent'`)],
);
