import * as z from 'zod';
import { email, id, lazy, type Of, time } from '../fields.ts';
import { pageQuery } from '../http/page.ts';
import { eventName } from '../outbox/event-name.ts';

/** Bytes of JSON that an event's data may have. */
const MAX_DATA = 65_536;

/** Levels of arrays and objects in it: what nobody can follow, not even JSON.stringify, is refused. */
const MAX_DEPTH = 100;

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isWithin(inner, depth - 1));
}

/** Where members are called `__proto__`: many a receiver would drop one, or take it for something else. */
function protosIn(value: unknown, path: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, name];
    return name === '__proto__' ? [at] : protosIn(inner, at);
  });
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

// As it was parsed: a z.record would drop some names before anybody could refuse them.
const data = () =>
  z
    .custom<Record<string, unknown>>(isObject, { error: 'must be an object', abort: true })
    .refine((data) => isWithin(data, MAX_DEPTH), { error: `must be at most ${MAX_DEPTH} levels deep`, abort: true })
    .superRefine((data, { addIssue }) => {
      for (const path of protosIn(data)) addIssue({ code: 'custom', path, message: 'must not be called __proto__' });
    })
    .refine(
      (data) => new TextEncoder().encode(JSON.stringify(data)).length <= MAX_DATA,
      `must be at most ${MAX_DATA} bytes of JSON`,
    )
    .meta({ type: 'object', additionalProperties: {} });

const ofUser = () => id('must be the id of a user').optional();

/** What POST takes: the recipient, a user or an address, and what is sent. */
export const NotificationInput = lazy(() =>
  z
    .strictObject({ userId: ofUser(), email: email().optional(), type: eventName(), data: data() })
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
