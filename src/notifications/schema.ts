import * as z from 'zod/mini';
import type { FieldError } from '../errors.ts';
import { documented, email, id, instant, isObject, json, lazy, type Of, text, time } from '../fields.ts';
import { pageQuery } from '../http/page.ts';
import { eventName } from '../outbox/event-name.ts';

/** POST takes either. */
export function eitherRecipient(_: unknown, given: unknown): FieldError[] {
  if (!isObject(given)) return [];
  const { userId, email } = given as { userId?: unknown; email?: unknown };
  if ((userId === undefined) !== (email === undefined)) return [];
  return [{ detail: 'either userId or email is required', pointer: '#/userId' }];
}

const ofUser = () => z.optional(id('must be the id of a user'));

/** What POST takes: the recipient, a user or an address, and what is sent. */
export const NotificationInput = lazy(() =>
  documented(z.strictObject({ userId: ofUser(), email: z.optional(email()), type: eventName(), data: json(65_536) }), {
    id: 'NotificationInput',
    oneOf: [{ required: ['userId'] }, { required: ['email'] }],
    examples: [{ email: 'ada@example.com', type: 'invoice.paid', data: { invoice: 'INV-7', amount: 1200 } }],
  }),
);

export const STATUSES = ['pending', 'sent', 'dead', 'canceled'] as const;
export const CHANNELS = ['webhook', 'email'] as const;
const oneOf = <T extends readonly string[]>(values: T) => z.enum(values, `must be one of ${values.join(', ')}`);

const filters = () => ({
  type: z.optional(eventName()),
  endpointId: z.optional(id('must be the id of a webhook endpoint')),
  userId: ofUser(),
  channel: z.optional(oneOf(CHANNELS)),
  createdAfter: documented(z.optional(instant()), { description: 'Created at this time or later.' }),
  createdBefore: documented(z.optional(instant()), { description: 'Created before this time.' }),
  text: documented(z.optional(text(1, 200)), { description: 'Case-sensitive substring of the payload.' }),
});

/** What a list can be filtered by. */
export const NotificationQuery = lazy(() =>
  z.extend(pageQuery(), { status: z.optional(oneOf(STATUSES)), ...filters() }),
);

const onAll = <S extends 'dead' | 'pending'>(name: string, status: S) =>
  lazy(() => {
    const only = z.optional(z.literal(status, `must be ${status}: no others are changed`));
    return documented(z.strictObject({ filter: z.strictObject({ status: only, ...filters() }) }), {
      id: name,
      examples: [{ filter: { type: 'invoice.paid', createdAfter: '2026-11-22T10:00:00Z' } }],
    });
  });

/** What a bulk action takes. The filter `{}` matches every notification of that status. */
export const RedriveInput = onAll('RedriveInput', 'dead');
export const CancelInput = onAll('CancelInput', 'pending');
export type BulkFilter = Omit<Of<typeof RedriveInput>['filter'], 'status'>;

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
  documented(
    z.object({
      id: z.uuid(),
      type: z.string(),
      channel: z.enum(CHANNELS),
      status: z.enum(STATUSES),
      userId: z.nullable(z.uuid()),
      endpointId: z.nullable(z.uuid()),
      attempts: z.int(),
      dueAt: z.nullable(time()),
      sentAt: z.nullable(time()),
      lastError: z.nullable(z.string()),
      createdAt: time(),
    }),
    { id: 'Notification', examples: [example] },
  ),
);
export type Notification = Of<typeof NotificationView>;

/** A notification with its payload and its delivery attempts, in order. */
export const NotificationWithAttempts = lazy(() => {
  const attempt = z.object({
    at: time(),
    durationMs: z.int(),
    status: z.nullable(z.int()),
    error: z.nullable(z.string()),
  });
  const attemptLog = [{ at: example.createdAt, durationMs: 41, status: 503, error: 'HTTP 503' }];
  const payload = documented(z.string(), {
    description: 'The exact JSON text that is signed and sent: `type`, `timestamp` and `data`.',
  });
  return documented(z.extend(NotificationView(), { payload, attemptLog: z.array(attempt) }), {
    id: 'NotificationWithAttempts',
    examples: [
      {
        ...example,
        attempts: 1,
        payload: '{"type":"invoice.paid","timestamp":"2026-11-22T10:00:00.000Z","data":{"invoice":"INV-7"}}',
        attemptLog,
      },
    ],
  });
});
