import * as z from 'zod/mini';
import { documented, lazy, type Of, text, time } from '../fields.ts';
import { eventName } from '../outbox/event-name.ts';
import { webhookEndpoints } from '../outbox/schema.ts';
import { view } from '../view.ts';

const example = { url: 'https://example.com/hooks', events: ['invoice.paid'], description: 'CRM' };

/** What POST and PUT take. Whether the URL may be called depends on the configuration: see `refuseWebhookUrl`. */
export const WebhookEndpointInput = lazy(() =>
  documented(
    z.strictObject({
      url: documented(text(1, 2048), { description: 'https, to a host on the public internet.' }),
      events: documented(
        z
          .array(z.union([z.literal('*'), eventName()], 'must be an event type, such as invoice.paid, or *'))
          .check(z.minLength(1, 'must name at least one event'), z.maxLength(50, 'must name at most 50 events')),
        { description: 'Event types, or * for all.' },
      ),
      description: z._default(text(0, 500), ''),
    }),
    { id: 'WebhookEndpointInput', examples: [example] },
  ),
);
export type WebhookEndpointInput = Of<typeof WebhookEndpointInput>;

/** What the API shows. */
export const WebhookEndpointView = view('WebhookEndpoint', webhookEndpoints, {
  only: ['id', 'url', 'events', 'description', 'status', 'version', 'createdAt', 'updatedAt'],
  example: { ...example, status: 'enabled' },
});
export type WebhookEndpoint = NonNullable<typeof WebhookEndpointView.row>;

/** The endpoint with its secret, which only POST and rotation show. */
export const WebhookEndpointWithSecret = lazy(() =>
  documented(
    z.extend(WebhookEndpointView.schema(), {
      secret: documented(z.string(), { description: 'The signing secret: whsec_ and base64. Shown once.' }),
    }),
    {
      id: 'WebhookEndpointWithSecret',
      examples: [{ ...WebhookEndpointView.example, secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=' }],
    },
  ),
);
export type WebhookEndpointWithSecret = WebhookEndpoint & { secret: string };

/** How deliveries to an endpoint have gone. */
export const WebhookEndpointHealth = lazy(() => {
  const count = (description: string) => documented(z.int(), { description });
  const id = '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e51';
  const failure = z.object({
    notificationId: z.uuid(),
    at: time(),
    status: z.nullable(z.int()),
    error: z.nullable(z.string()),
  });
  return documented(
    z.object({
      id: z.uuid(),
      failures: count('Failures in a row.'),
      failingSince: z.nullable(time()),
      pausedUntil: documented(z.nullable(time()), {
        description: 'When an automatic pause ends. Null if the endpoint is not paused, or was paused by request.',
      }),
      sent: count('Of the last 100 notifications, those that were sent.'),
      dead: count('Of the last 100 notifications, those that are dead.'),
      pending: count('Of the last 100 notifications, those that are pending.'),
      lastFailures: documented(z.array(failure), {
        description: 'The last five failed attempts of these, the last one first.',
      }),
    }),
    {
      id: 'WebhookEndpointHealth',
      examples: [
        {
          id,
          failures: 0,
          failingSince: null,
          pausedUntil: null,
          sent: 99,
          dead: 1,
          pending: 0,
          lastFailures: [
            {
              notificationId: id,
              at: '2026-11-22T10:00:00.000Z',
              status: 503,
              error: 'HTTP 503',
            },
          ],
        },
      ],
    },
  );
});
export type WebhookEndpointHealth = Of<typeof WebhookEndpointHealth>;
