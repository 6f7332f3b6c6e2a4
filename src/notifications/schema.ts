import * as z from 'zod';
import { email, id, json, lazy, type Of, time } from '../fields.ts';
import { pageQuery } from '../http/page.ts';
import { eventName } from '../outbox/event-name.ts';

const ofUser = () => id('must be the id of a user').optional();

/** What POST takes: the recipient, a user or an address, and what is sent. */
export const NotificationInput = lazy(() =>
  z
    .strictObject({ userId: ofUser(), email: email().optional(), type: eventName(), data: json(65_536) })
    .refine(({ userId, email }) => (userId === undefined) !== (email === undefined), 'must have either userId or email')
    .meta({
      id: 'NotificationInput',
      oneOf: [{ required: ['userId'] }, { required: ['email'] }],
      examples: [{ email: 'ada@example.com', type: 'invoice.paid', data: { invoice: 'INV-7', amount: 1200 } }],
    }),
);

const STATUSES = ['pending', 'sent', 'dead', 'canceled'] as const;
const CHANNELS = ['webhook', 'email'] as const;
const oneOf = <T extends readonly string[]>(values: T) => z.enum(values, `must be one of ${values.join(', ')}`);

/** What a list can be filtered by. */
export const NotificationQuery = lazy(() =>
  pageQuery().extend({
    status: oneOf(STATUSES).optional(),
    userId: ofUser(),
    channel: oneOf(CHANNELS).optional(),
  }),
);

const example = {
  id: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
  type: 'invoice.paid',
  channel: 'webhook',
  status: 'pending',
  userId: null,
  endpointId: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e51',
  attempts: 0,
  dueAt: '2026-11-22T10:00:00.000Z',
  sentAt: null,
  lastError: null,
  createdAt: '2026-11-22T10:00:00.000Z',
};

/** What the API shows. */
export const NotificationView = lazy(() =>
  z
    .object({
      id: z.uuid(),
      type: z.string(),
      channel: z.enum(CHANNELS),
      status: z.enum(STATUSES),
      userId: z.uuid().nullable(),
      endpointId: z.uuid().nullable(),
      attempts: z.int(),
      dueAt: time().nullable(),
      sentAt: time().nullable(),
      lastError: z.string().nullable(),
      createdAt: time(),
    })
    .meta({ id: 'Notification', examples: [example] }),
);
export type Notification = Of<typeof NotificationView>;

/** With every attempt to deliver it, in order. */
export const NotificationWithAttempts = lazy(() => {
  const attempt = z.object({
    at: time(),
    durationMs: z.int(),
    status: z.int().nullable(),
    error: z.string().nullable(),
  });
  const attemptLog = [{ at: example.createdAt, durationMs: 41, status: 503, error: 'HTTP 503' }];
  return NotificationView()
    .extend({ attemptLog: z.array(attempt) })
    .meta({ id: 'NotificationWithAttempts', examples: [{ ...example, attempts: 1, attemptLog }] });
});
