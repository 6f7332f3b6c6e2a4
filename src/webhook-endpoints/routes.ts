import { v7 as uuidv7 } from 'uuid';
import * as z from 'zod/mini';
import type { FieldError } from '../errors.ts';
import { lazy } from '../fields.ts';
import { empty, json } from '../http/answer.ts';
import { actorOf, type Ctx, router } from '../http/context.ts';
import { created, newRow } from '../http/created.ts';
import { conditional, withEtag, writeOf } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { operation } from '../http/operation.ts';
import { pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import { type Notification, NotificationView } from '../notifications/schema.ts';
import {
  type WebhookEndpoint,
  WebhookEndpointHealth,
  WebhookEndpointInput,
  WebhookEndpointView,
  WebhookEndpointWithSecret,
} from './schema.ts';
import {
  createEndpoint,
  enableEndpoint,
  findEndpoint,
  healthOfEndpoint,
  listEndpoints,
  pauseEndpoint,
  queueTest,
  removeEndpoint,
  rotateSecret,
  updateEndpoint,
} from './store.ts';

/** The data of `webhook.test`. */
const TestData = lazy(() => z.object({ endpointId: z.uuid() }));

const endpoints: Resource = {
  name: 'WebhookEndpoint',
  description: 'Subscriptions to events, signed as Standard Webhooks 1.0.0 specifies.',
  scopes: { read: 'webhooks:read', write: 'webhooks:write' },
  view: WebhookEndpointView.schema,
  events: { 'webhook.test': { description: 'A test event, sent only to the tested endpoint.', data: TestData } },
};

const create = operation.create(endpoints, {
  description: 'The URL receives every event of the types in `events`. The signing secret is shown only once.',
  shows: WebhookEndpointWithSecret,
});
const replace = operation.replace(endpoints, {
  description:
    'Enables an endpoint that was disabled, or paused for its failures, but not one that was paused by request. Send If-Match, ' +
    'or the last write wins.',
});
const remove = operation.remove(endpoints, { description: 'Pending notifications for the endpoint are not sent.' });
const changes = {
  answers: { 200: { description: 'The endpoint', schema: WebhookEndpointView.schema, headers: ['ETag' as const] } },
  headers: ['If-Match' as const],
  problems: ['outcome-unknown', 'not-found', 'precondition-failed', 'validation-failed'] as const,
};
const pause = operation.of(endpoints, 'write', {
  ...changes,
  operationId: 'pauseWebhookEndpoint',
  summary: 'Pause an endpoint',
  description:
    'Stops deliveries until the endpoint is enabled. New notifications are queued. Returns 409 for a disabled endpoint.',
  problems: [...changes.problems, 'conflict'],
});
const enable = operation.of(endpoints, 'write', {
  ...changes,
  operationId: 'enableWebhookEndpoint',
  summary: 'Enable an endpoint',
  description: 'Enables a paused or disabled endpoint and resets its failure count.',
});
const health = operation.of(endpoints, 'read', {
  operationId: 'getWebhookEndpointHealth',
  summary: "Get an endpoint's health",
  description: 'Returns delivery counts for the last 100 notifications, and the latest failures.',
  answers: { 200: { description: 'The health', schema: WebhookEndpointHealth } },
  problems: ['not-found'],
});
const rotateOp = operation.idempotent(endpoints, {
  operationId: 'rotateWebhookSecret',
  summary: "Rotate an endpoint's signing secret",
  description:
    'Previous secrets, up to ten, also sign for 24 hours after their rotation. The new secret is shown only once.',
  answers: {
    200: {
      description: 'The endpoint with its new secret',
      schema: WebhookEndpointWithSecret,
      headers: ['ETag', 'Idempotent-Replayed'],
    },
  },
  problems: ['not-found', 'conflict'],
});
const test = operation.idempotent(endpoints, {
  operationId: 'testWebhookEndpoint',
  summary: 'Send a test event',
  description: 'Queues a `webhook.test` event for this endpoint, whatever event types it subscribes to.',
  answers: {
    202: {
      description: 'The queued notification',
      schema: NotificationView,
      headers: ['Location', 'Idempotent-Replayed'],
    },
  },
  problems: ['not-found'],
});

/** Returns what is wrong with the URL in a body. */
export async function refusedUrl(c: Ctx, given: unknown): Promise<FieldError[]> {
  const { url } = Object(given) as { url?: unknown };
  const detail = typeof url === 'string' && url !== '' ? await c.env.refuseWebhookUrl(url) : undefined;
  return detail === undefined ? [] : [{ detail, pointer: '#/url' }];
}

/** A new signing secret (Standard Webhooks, 32 random bytes), sealed. */
function newSecret(c: Ctx): Promise<string> {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return c.env.secrets.seal(`whsec_${btoa(String.fromCharCode(...bytes))}`);
}

/** Creates an endpoint; `key` is the idempotency key of a form. */
export async function newEndpoint(c: Ctx, input: WebhookEndpointInput, key?: string) {
  const row = {
    ...newRow(c, { ...input, status: 'enabled' as WebhookEndpoint['status'] }),
    secret: await newSecret(c),
  };
  const reservation = reservationOf(c, input, created(c, row), key);
  const stored = await createEndpoint(c.env.db, { ...row, ...reservation }, c.get('signal'));
  return { reservation, stored };
}

/**
 * Pauses or enables an endpoint, and tells the dispatchers. `version` is from a form, which sends no If-Match. Throws
 * AppError `not-found`, `conflict`, `precondition-failed`.
 */
export async function changeStatus(
  c: Ctx,
  change: typeof pauseEndpoint,
  id: string,
  version?: number,
): Promise<WebhookEndpoint> {
  const condition = version === undefined ? {} : { versions: `{${version}}` };
  const endpoint = await change(c.env.db, { id, ...writeOf(c), ...condition, ...actorOf(c) }, c.get('signal'));
  c.env.wake(endpoint.id);
  return endpoint;
}

/** Gives an endpoint a new secret; `key` is the idempotency key of a form. Throws AppError `not-found`, `conflict`. */
export async function rotate(c: Ctx, id: string, key?: string) {
  const reservation = reservationOf<WebhookEndpointWithSecret, 200>(c, {}, undefined, key);
  const values = { ...reservation, id, secret: await newSecret(c), now: c.env.now().toISOString() };
  const stored = await rotateSecret(c.env.db, values, c.get('signal'));
  // Signs waiting deliveries with both secrets.
  c.env.wake(id);
  return { reservation, stored };
}

/** Queues a test event; `key` is the idempotency key of a form. Throws AppError `not-found`. */
export async function sendTest(c: Ctx, id: string, key?: string) {
  const reservation = reservationOf<Notification, 202>(c, {}, undefined, key);
  const stored = await queueTest(c.env.db, { ...reservation, id, notificationId: uuidv7() }, c.get('signal'));
  c.env.wake();
  return { reservation, stored };
}

// The secret is sealed in the stored response, as in the endpoint.
function revealed(c: Ctx) {
  return async <T extends { secret: string }>(body: T): Promise<T> => ({
    ...body,
    secret: await c.env.secrets.open(body.secret),
  });
}

export const webhookEndpointsRoutes = router()
  .get('/', operation.list(endpoints), validate('query', pageQuery), async (c) => {
    const query = c.req.valid('query');
    return pageResponse(c, query, await listEndpoints(c.env.db, pageOfQuery(c, query), c.get('signal')));
  })
  .post('/', create, validate('json', WebhookEndpointInput, refusedUrl), async (c) => {
    const { reservation, stored } = await newEndpoint(c, c.req.valid('json'));
    return answerWith(c, reservation, stored, revealed(c));
  })
  .get('/:id', operation.read(endpoints), byId, async (c) =>
    conditional(c, await findEndpoint(c.env.db, c.req.valid('param').id, c.get('signal'))),
  )
  .put('/:id', replace, byId, validate('json', WebhookEndpointInput, refusedUrl), async (c) => {
    const change = { ...c.req.valid('param'), ...c.req.valid('json'), ...writeOf(c), ...actorOf(c) };
    const endpoint = await updateEndpoint(c.env.db, change, c.get('signal'));
    c.env.wake(endpoint.id);
    return withEtag(c, endpoint);
  })
  .delete('/:id', remove, byId, async (c) => {
    const { id } = await removeEndpoint(
      c.env.db,
      { ...c.req.valid('param'), ...writeOf(c), ...actorOf(c) },
      c.get('signal'),
    );
    c.env.wake(id);
    return empty(c, 204);
  })
  .get('/:id/health', health, byId, async (c) =>
    json(c, await healthOfEndpoint(c.env.db, c.req.valid('param').id, c.get('signal')), 200),
  )
  .post('/:id/pause', pause, byId, async (c) =>
    withEtag(c, await changeStatus(c, pauseEndpoint, c.req.valid('param').id)),
  )
  .post('/:id/enable', enable, byId, async (c) =>
    withEtag(c, await changeStatus(c, enableEndpoint, c.req.valid('param').id)),
  )
  .post('/:id/rotate-secret', rotateOp, byId, async (c) => {
    const { reservation, stored } = await rotate(c, c.req.valid('param').id);
    return answerWith(c, reservation, stored, revealed(c));
  })
  .post('/:id/test', test, byId, async (c) => {
    const { reservation, stored } = await sendTest(c, c.req.valid('param').id);
    return answerWith(c, reservation, stored);
  });
