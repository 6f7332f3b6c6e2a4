import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import { AppError } from '../errors.ts';
import { answerWith, claimOf } from '../http/idempotency.ts';
import { pageOf, pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import { bodyProblemsOf, idParam, jsonBody, jsonResponse, problemsOf, router, secured } from '../http/route.ts';
import {
  NotificationInput,
  NotificationView,
  NotificationWithAttempts,
  notificationFilters,
  pendingView,
} from './schema.ts';
import {
  cancelNotification,
  createNotification,
  findNotification,
  listNotifications,
  redriveNotification,
} from './store.ts';

const list = createRoute({
  method: 'get',
  path: '/',
  summary: 'List notifications, newest first',
  ...secured('notifications:read'),
  request: { query: pageQuery.extend(notificationFilters) },
  responses: { 200: jsonResponse(pageOf(NotificationView), 'A page of notifications'), ...problemsOf(400, 422) },
});

const create = createRoute({
  method: 'post',
  path: '/',
  summary: 'Tell a user by email, and every subscribed endpoint',
  ...secured('notifications:write'),
  request: { body: jsonBody(NotificationInput) },
  responses: { 202: jsonResponse(NotificationView, 'Queued; the one to the user is shown'), ...bodyProblemsOf() },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  summary: 'Read a notification with its attempts',
  ...secured('notifications:read'),
  request: { params: idParam },
  responses: { 200: jsonResponse(NotificationWithAttempts, 'The notification'), ...problemsOf(404) },
});

const redrive = createRoute({
  method: 'post',
  path: '/{id}/redrive',
  summary: 'Make a dead notification due again',
  ...secured('notifications:write'),
  request: { params: idParam },
  responses: { 200: jsonResponse(NotificationView, 'Pending again'), ...problemsOf(404, 409) },
});

const cancel = createRoute({
  method: 'post',
  path: '/{id}/cancel',
  summary: 'Do not send a pending notification',
  ...secured('notifications:write'),
  request: { params: idParam },
  responses: { 200: jsonResponse(NotificationView, 'Canceled'), ...problemsOf(404, 409) },
});

export const notificationsRoutes = router()
  .openapi(list, async (c) => {
    const query = c.req.valid('query');
    const { status, userId, channel } = query;
    const page = { ...pageOfQuery(c, query), status, userId, channel };
    return pageResponse(c, query, await listNotifications(c.env.db, page, c.get('signal')), (view) => view);
  })
  .openapi(create, async (c) => {
    const input = c.req.valid('json');
    const notification = { ...input, id: uuidv7(), channel: 'email' as const, endpointId: null };
    const answer = {
      status: 202 as const,
      headers: { Location: `/api/v1/notifications/${notification.id}` },
      body: pendingView(notification, c.env.now()),
    };
    const claim = await claimOf(c, input, answer);
    const values = { ...claim, ...input, id: notification.id, data: JSON.stringify(input.data) };
    const row = await createNotification(c.env.db, values, c.get('signal'));
    if (!row) {
      const errors = [{ detail: 'there is no such user', pointer: '#/userId' }];
      throw new AppError('validation-failed', 'There is no such user.', { errors });
    }
    c.env.wake();
    return answerWith(c, claim, row);
  })
  .openapi(read, async (c) => c.json(await findNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200))
  .openapi(redrive, async (c) => {
    const notification = await redriveNotification(c.env.db, c.req.valid('param').id, c.get('signal'));
    c.env.wake();
    return c.json(notification, 200);
  })
  .openapi(cancel, async (c) =>
    c.json(await cancelNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200),
  );
