import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import type * as z from 'zod';
import { AppError } from '../errors.ts';
import type { Ctx } from '../http/context.ts';
import { conditional, etagOf, ifMatch } from '../http/etag.ts';
import { answerWith, claimOf } from '../http/idempotency.ts';
import { pageOf, pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import { bodyProblemsOf, idParam, jsonBody, jsonResponse, problemsOf, router, secured } from '../http/route.ts';
import { NotificationView, pendingView } from '../notifications/schema.ts';
import { checkWebhookUrl } from './address.ts';
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
  summary: 'List webhook endpoints in order of creation',
  ...secured('webhooks:read'),
  request: { query: pageQuery },
  responses: { 200: jsonResponse(pageOf(WebhookEndpointView), 'A page of endpoints'), ...problemsOf(400, 422) },
});

const create = createRoute({
  method: 'post',
  path: '/',
  summary: 'Register a webhook endpoint',
  ...secured('webhooks:write'),
  request: { body: jsonBody(WebhookEndpointInput) },
  responses: {
    201: jsonResponse(WebhookEndpointWithSecret, 'The new endpoint, its secret shown'),
    ...bodyProblemsOf(),
  },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  summary: 'Read a webhook endpoint',
  ...secured('webhooks:read'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(WebhookEndpointView, 'The endpoint'),
    304: { description: 'Not modified' },
    ...problemsOf(404),
  },
});

const replace = createRoute({
  method: 'put',
  path: '/{id}',
  summary: 'Replace a webhook endpoint, and enable it again',
  ...secured('webhooks:write'),
  request: { params: idParam, body: jsonBody(WebhookEndpointInput) },
  responses: { 200: jsonResponse(WebhookEndpointView, 'The changed endpoint'), ...bodyProblemsOf(404, 412) },
});

const remove = createRoute({
  method: 'delete',
  path: '/{id}',
  summary: 'Delete a webhook endpoint',
  ...secured('webhooks:write'),
  request: { params: idParam },
  responses: { 204: { description: 'Deleted' }, ...problemsOf(404, 412, 422) },
});

const rotate = createRoute({
  method: 'post',
  path: '/{id}/rotate-secret',
  summary: 'Give an endpoint a new secret; the old one signs too for 24 hours',
  ...secured('webhooks:write'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(WebhookEndpointWithSecret, 'The endpoint, its new secret shown'),
    ...problemsOf(400, 404, 422),
  },
});

const test = createRoute({
  method: 'post',
  path: '/{id}/test',
  summary: 'Queue a webhook.test for an endpoint',
  ...secured('webhooks:write'),
  request: { params: idParam },
  responses: { 202: jsonResponse(NotificationView, 'The queued notification'), ...problemsOf(400, 404, 422) },
});

function allowed<T extends { url: string }>(c: Ctx, input: T): T {
  const detail = checkWebhookUrl(input.url, { allowPrivate: c.env.settings.webhookAllowPrivate });
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
    return pageResponse(c, query, await listEndpoints(c.env.db, pageOfQuery(c, query), c.get('signal')), viewOf);
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
    const claim = await claimOf(c, input, answer);
    const values = { ...claim, ...input, id: endpoint.id, events: JSON.stringify(input.events), secret, now };
    return answerWith(c, claim, await createEndpoint(c.env.db, values, c.get('signal')), revealed(c));
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
    c.header('ETag', etagOf(endpoint.version));
    return c.json(viewOf(endpoint), 200);
  })
  .openapi(remove, async (c) => {
    await removeEndpoint(c.env.db, c.req.valid('param').id, ifMatch(c), c.get('signal'));
    return c.body(null, 204);
  })
  .openapi(rotate, async (c) => {
    const { id } = c.req.valid('param');
    const claim = await claimOf<z.infer<typeof WebhookEndpointWithSecret>, 200>(c, {});
    const values = { ...claim, id, secret: await newSecret(c), now: c.env.now().toISOString() };
    const row = await rotateSecret(c.env.db, values, c.get('signal'));
    return answerWith(c, claim, row, revealed(c));
  })
  .openapi(test, async (c) => {
    const { id } = c.req.valid('param');
    const notification = {
      id: uuidv7(),
      type: 'webhook.test',
      channel: 'webhook' as const,
      endpointId: id,
      userId: null,
    };
    const answer = {
      status: 202 as const,
      headers: { Location: `/api/v1/notifications/${notification.id}` },
      body: pendingView(notification, c.env.now()),
    };
    const claim = await claimOf(c, {}, answer);
    const row = await queueTest(c.env.db, { ...claim, id, notificationId: notification.id }, c.get('signal'));
    c.env.wake();
    return answerWith(c, claim, row);
  });
