import { sql } from 'drizzle-orm';
import { index, integer, pgTable, text as pgText, timestamp, uuid } from 'drizzle-orm/pg-core';
import * as z from 'zod';
import { eventName } from './event-name.ts';

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

/** What is told, written once: the exact bytes that are signed and sent, shared by everyone who is told. */
export const messages = pgTable('messages', {
  id: uuid().primaryKey(),
  type: pgText().notNull(),
  body: pgText().notNull(),
  createdAt: time('created_at').notNull(),
});

/** Who is told: one row per recipient, written once. Its id is the `webhook-id`. */
export const notifications = pgTable(
  'notifications',
  {
    id: uuid().primaryKey(),
    messageId: uuid('message_id').notNull(),
    channel: pgText({ enum: ['webhook', 'email'] }).notNull(),
    endpointId: uuid('endpoint_id'),
    userId: uuid('user_id'),
    recipient: pgText(),
    createdAt: time('created_at').notNull(),
  },
  (t) => [index('notifications_message').on(t.messageId), index('notifications_user').on(t.userId, t.id)],
);

/**
 * The queue: one narrow row per unfinished notification, deleted when it is finished. `dueAt` is schedule, back-off
 * and lease at once: a claim moves it to the lease's end, so that an expired lease is simply due again.
 */
export const deliveries = pgTable(
  'deliveries',
  {
    notificationId: uuid('notification_id').primaryKey(),
    endpointId: uuid('endpoint_id'),
    dueAt: timestamp('due_at', { withTimezone: true }).notNull(),
    lease: uuid(),
    attempt: integer().notNull().default(0),
  },
  (t) => [index('deliveries_due').on(t.dueAt)],
);

/** Every attempt but the last one, which its outcome tells, for whoever asks what happened. */
export const attempts = pgTable(
  'attempts',
  {
    notificationId: uuid('notification_id').notNull(),
    at: time('at').notNull(),
    durationMs: integer('duration_ms').notNull(),
    status: integer(),
    error: pgText(),
    dispatcher: pgText().notNull(),
  },
  (t) => [index('attempts_notification').on(t.notificationId, t.at)],
);

/**
 * How a notification ended, and its last attempt: inserted when its queue row goes, so that history never touches the
 * queue.
 */
export const outcomes = pgTable(
  'outcomes',
  {
    notificationId: uuid('notification_id').primaryKey(),
    status: pgText({ enum: ['sent', 'dead', 'canceled'] }).notNull(),
    attempts: integer().notNull(),
    lastError: pgText('last_error'),
    finishedAt: time('finished_at').notNull(),
    durationMs: integer('duration_ms'),
    httpStatus: integer('http_status'),
    dispatcher: pgText(),
  },
  (t) => [index('outcomes_not_sent').on(t.status, t.notificationId).where(sql`${t.status} <> 'sent'`)],
);

/** Bytes of JSON that an event's data may have. */
const MAX_DATA = 65_536;

/** Levels of arrays and objects in it: what nobody can follow, not even JSON.stringify, is refused. */
const MAX_DEPTH = 100;

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isWithin(inner, depth - 1));
}

/** What POST takes. */
export const NotificationInput = z
  .strictObject({
    userId: z.uuid('must be the id of a user'),
    type: eventName,
    data: z
      .record(z.string(), z.unknown())
      .refine((data) => isWithin(data, MAX_DEPTH), { error: `must be at most ${MAX_DEPTH} levels deep`, abort: true })
      .refine(
        (data) => new TextEncoder().encode(JSON.stringify(data)).length <= MAX_DATA,
        `must be at most ${MAX_DATA} bytes of JSON`,
      ),
  })
  .meta({
    id: 'NotificationInput',
    examples: [
      {
        userId: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
        type: 'invoice.paid',
        data: { invoice: 'INV-7', amount: 1200 },
      },
    ],
  });

const STATUSES = ['pending', 'sent', 'dead', 'canceled'] as const;
const CHANNELS = ['webhook', 'email'] as const;
export const notificationFilters = {
  status: z.enum(STATUSES, `must be one of ${STATUSES.join(', ')}`).optional(),
  userId: z.uuid('must be the id of a user').optional(),
  channel: z.enum(CHANNELS, `must be one of ${CHANNELS.join(', ')}`).optional(),
};

const time3339 = z.iso.datetime({ precision: 3 });

const example = {
  id: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
  type: 'user.created',
  channel: 'webhook',
  status: 'pending',
  userId: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e50',
  endpointId: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e51',
  attempts: 0,
  dueAt: '2026-11-22T10:00:00.000Z',
  sentAt: null,
  lastError: null,
  createdAt: '2026-11-22T10:00:00.000Z',
};

/** What the API shows. */
export const NotificationView = z
  .object({
    id: z.uuid(),
    type: z.string(),
    channel: z.enum(CHANNELS),
    status: z.enum(STATUSES),
    userId: z.uuid().nullable(),
    endpointId: z.uuid().nullable(),
    attempts: z.int(),
    dueAt: time3339.nullable(),
    sentAt: time3339.nullable(),
    lastError: z.string().nullable(),
    createdAt: time3339,
  })
  .meta({
    id: 'Notification',
    examples: [example],
  });

/** With every attempt that was made. */
export const NotificationWithAttempts = NotificationView.extend({
  attemptLog: z.array(
    z.object({
      at: time3339,
      durationMs: z.int(),
      status: z.int().nullable(),
      error: z.string().nullable(),
    }),
  ),
}).meta({
  id: 'NotificationWithAttempts',
  examples: [
    {
      ...example,
      attempts: 1,
      attemptLog: [{ at: example.createdAt, durationMs: 41, status: 503, error: 'HTTP 503' }],
    },
  ],
});

type View = z.infer<typeof NotificationView>;

/** A notification that is queued this very moment. */
export function pendingView(
  notification: Pick<View, 'id' | 'type' | 'channel' | 'userId' | 'endpointId'>,
  now: Date,
): View {
  const { id, type, channel, userId, endpointId } = notification;
  const at = now.toISOString();
  const rest = { attempts: 0, dueAt: at, sentAt: null, lastError: null, createdAt: at };
  return { id, type, channel, status: 'pending', userId, endpointId, ...rest };
}
