import * as z from 'zod';
import { text } from '../http/route.ts';
import { eventName } from '../outbox/event-name.ts';
import type { WebhookEndpoint } from '../outbox/schema.ts';

/** The names of events: words joined by dots, or * for all. */
const eventType = z.union([z.literal('*'), eventName], 'must be an event type, such as user.created, or *');

/** What POST and PUT take. Whether the URL may be called is checked against the configuration, by `refuseWebhookUrl`. */
export const WebhookEndpointInput = z
  .strictObject({
    url: text(1, 2048).meta({ description: 'https, to a host on the public internet.' }),
    events: z
      .array(eventType)
      .min(1, 'must name at least one event')
      .max(50, 'must name at most 50 events')
      .meta({ description: 'Types of events, such as user.created, or * for all.' }),
    description: text(0, 500).default(''),
  })
  .meta({
    id: 'WebhookEndpointInput',
    examples: [{ url: 'https://example.com/hooks', events: ['user.created'], description: 'CRM' }],
  });

const time3339 = z.iso.datetime({ precision: 3 });

const example = {
  id: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
  url: 'https://example.com/hooks',
  events: ['user.created'],
  description: 'CRM',
  status: 'enabled',
  version: 1,
  createdAt: '2026-11-22T10:00:00.000Z',
  updatedAt: '2026-11-22T10:00:00.000Z',
};

/** What the API shows. */
export const WebhookEndpointView = z
  .object({
    id: z.uuid(),
    url: z.string(),
    events: z.array(z.string()),
    description: z.string(),
    status: z.enum(['enabled', 'paused', 'disabled']),
    version: z.int(),
    createdAt: time3339,
    updatedAt: time3339,
  })
  .meta({
    id: 'WebhookEndpoint',
    examples: [example],
  });

/** With the secret, which only POST and rotation show. */
export const WebhookEndpointWithSecret = WebhookEndpointView.extend({
  secret: z.string().meta({ description: 'whsec_ and base64: what signatures are checked with. Shown once.' }),
}).meta({
  id: 'WebhookEndpointWithSecret',
  examples: [{ ...example, secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=' }],
});

export function viewOf(endpoint: WebhookEndpoint): z.infer<typeof WebhookEndpointView> {
  const { id, url, events, description, status, version, createdAt, updatedAt } = endpoint;
  return { id, url, events, description, status, version, createdAt, updatedAt };
}
