import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import type * as z from 'zod';
import { AppError } from '../errors.ts';
import { empty, json, setHeader } from '../http/answer.ts';
import type { Ctx } from '../http/context.ts';
import { conditional, etagOf, ifMatch } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import {
  emptyResponse,
  jsonBody,
  jsonResponse,
  ofJson,
  ofKeys,
  ofWrites,
  parametersOf,
  problemsOf,
} from '../http/openapi.ts';
import { pageOf, pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import { idParam, router, secured } from '../http/route.ts';
import { NotificationView } from '../notifications/schema.ts';
import { viewOf, WebhookEndpointInput, WebhookEndpointView, WebhookEndpointWithSecret } from './schema.ts';
import {
  createEndpoint,
  findEndpoint,
  listEndpoints,
  queueTest,
  removeEndpoint,
  rotateSecret,
  updateEndpoint,
} from './store.ts';

const list = createRoute({
  method: 'get',
  path: '/',
  operationId: 'listWebhookEndpoints',
  summary: 'List webhook endpoints in order of creation',
  description: 'A page at a time, without their secrets.',
  ...secured('webhooks:read'),
  request: { query: pageQuery },
  responses: {
    200: jsonResponse(pageOf(WebhookEndpointView), 'A page of endpoints', 'Link'),
    ...problemsOf('invalid-cursor', 'validation-failed'),
  },
});

const create = createRoute({
  method: 'post',
  path: '/',
  operationId: 'createWebhookEndpoint',
  summary: 'Register a webhook endpoint',
  description: 'Its URL is called with every event that it names. The secret is shown here, and never again.',
  ...secured('webhooks:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { body: jsonBody(WebhookEndpointInput) },
  responses: {
    201: jsonResponse(WebhookEndpointWithSecret, 'The new endpoint', 'Location', 'ETag', 'Idempotent-Replayed'),
    ...problemsOf(...ofJson, ...ofKeys),
  },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  operationId: 'getWebhookEndpoint',
  summary: 'Read a webhook endpoint',
  description: 'As it is now, without its secret; with If-None-Match, only where it has changed.',
  ...secured('webhooks:read'),
  parameters: parametersOf('If-None-Match'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(WebhookEndpointView, 'The endpoint', 'ETag'),
    304: emptyResponse('Not modified', 'ETag'),
    ...problemsOf('not-found'),
  },
});

const replace = createRoute({
  method: 'put',
  path: '/{id}',
  operationId: 'replaceWebhookEndpoint',
  summary: 'Replace a webhook endpoint',
  description: 'One that was paused or disabled is enabled again.',
  ...secured('webhooks:write'),
  parameters: parametersOf('If-Match'),
  request: { params: idParam, body: jsonBody(WebhookEndpointInput) },
  responses: {
    200: jsonResponse(WebhookEndpointView, 'The changed endpoint', 'ETag'),
    ...problemsOf(...ofJson, ...ofWrites, 'not-found', 'precondition-failed'),
  },
});

const remove = createRoute({
  method: 'delete',
  path: '/{id}',
  operationId: 'deleteWebhookEndpoint',
  summary: 'Delete a webhook endpoint',
  description: 'What is still queued for it is not sent any more.',
  ...secured('webhooks:write'),
  parameters: parametersOf('If-Match'),
  request: { params: idParam },
  responses: {
    204: emptyResponse('Deleted'),
    ...problemsOf(...ofWrites, 'not-found', 'precondition-failed', 'validation-failed'),
  },
});

const rotate = createRoute({
  method: 'post',
  path: '/{id}/rotate-secret',
  operationId: 'rotateWebhookSecret',
  summary: 'Give an endpoint a new secret',
  description:
    'Every secret that was replaced signs too for 24 hours from then, ten of them at most. The new one is shown here, and never again.',
  ...secured('webhooks:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(WebhookEndpointWithSecret, 'The endpoint with its new secret', 'ETag', 'Idempotent-Replayed'),
    ...problemsOf(...ofKeys, 'not-found', 'conflict'),
  },
});

const test = createRoute({
  method: 'post',
  path: '/{id}/test',
  operationId: 'testWebhookEndpoint',
  summary: 'Queue a webhook.test for an endpoint',
  description: 'It is sent to this endpoint alone, whatever events it names.',
  ...secured('webhooks:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { params: idParam },
  responses: {
    202: jsonResponse(NotificationView, 'The queued notification', 'Location', 'Idempotent-Replayed'),
    ...problemsOf(...ofKeys, 'not-found'),
  },
});

function allowed<T extends { url: string }>(c: Ctx, input: T): T {
  const detail = c.env.refuseWebhookUrl(input.url);
  if (detail === undefined) return input;
  throw new AppError('validation-failed', 'The URL is not acceptable.', { errors: [{ detail, pointer: '#/url' }] });
}

/** 32 random bytes, as Standard Webhooks writes them, sealed. */
function newSecret(c: Ctx): Promise<string> {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return c.env.secrets.seal(`whsec_${btoa(String.fromCharCode(...bytes))}`);
}

// What is stored for a replay holds the secret sealed, like the endpoint itself.
function revealed(c: Ctx) {
  return async <T extends { secret: string }>(body: T): Promise<T> => ({
    ...body,
    secret: await c.env.secrets.open(body.secret),
  });
}

export const webhookEndpointsRoutes = router()
  .openapi(list, async (c) => {
    const query = c.req.valid('query');
    return pageResponse(c, query, (await listEndpoints(c.env.db, pageOfQuery(c, query), c.get('signal'))).map(viewOf));
  })
  .openapi(create, async (c) => {
    const input = allowed(c, c.req.valid('json'));
    const now = c.env.now().toISOString();
    const secret = await newSecret(c);
    const endpoint = { id: uuidv7(), ...input, status: 'enabled' as const, version: 1, createdAt: now, updatedAt: now };
    const answer = {
      status: 201 as const,
      headers: { Location: `/api/v1/webhook-endpoints/${endpoint.id}`, ETag: etagOf(1) },
      body: { ...endpoint, secret },
    };
    const reservation = reservationOf(c, input, answer);
    const values = { ...reservation, ...input, id: endpoint.id, events: JSON.stringify(input.events), secret, now };
    return answerWith(c, reservation, await createEndpoint(c.env.db, values, c.get('signal')), revealed(c));
  })
  .openapi(read, async (c) => {
    const endpoint = await findEndpoint(c.env.db, c.req.valid('param').id, c.get('signal'));
    return conditional(c, endpoint.version, viewOf(endpoint));
  })
  .openapi(replace, async (c) => {
    const input = allowed(c, c.req.valid('json'));
    const change = { ...input, ...c.req.valid('param'), events: JSON.stringify(input.events), versions: ifMatch(c) };
    const now = c.env.now().toISOString();
    const endpoint = await updateEndpoint(c.env.db, { ...change, now }, c.get('signal'));
    c.env.wake(endpoint.id);
    setHeader(c, 'ETag', etagOf(endpoint.version));
    return json(c, viewOf(endpoint), 200);
  })
  .openapi(remove, async (c) => {
    const { id } = c.req.valid('param');
    await removeEndpoint(c.env.db, id, ifMatch(c), c.get('signal'));
    c.env.wake(id);
    return empty(c, 204);
  })
  .openapi(rotate, async (c) => {
    const { id } = c.req.valid('param');
    const reservation = reservationOf<z.infer<typeof WebhookEndpointWithSecret>, 200>(c, {});
    const values = { ...reservation, id, secret: await newSecret(c), now: c.env.now().toISOString() };
    const row = await rotateSecret(c.env.db, values, c.get('signal'));
    return answerWith(c, reservation, row, revealed(c));
  })
  .openapi(test, async (c) => {
    const { id } = c.req.valid('param');
    const reservation = reservationOf<z.infer<typeof NotificationView>, 202>(c, {});
    const row = await queueTest(c.env.db, { ...reservation, id, notificationId: uuidv7() }, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  });
