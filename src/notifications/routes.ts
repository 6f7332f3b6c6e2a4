import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import type * as z from 'zod';
import { AppError } from '../errors.ts';
import { json } from '../http/answer.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { jsonBody, jsonResponse, ofJson, ofKeys, ofWrites, parametersOf, problemsOf } from '../http/openapi.ts';
import { pageOf, pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import { idParam, router, secured } from '../http/route.ts';
import { NotificationInput, NotificationView, NotificationWithAttempts, notificationFilters } from './schema.ts';
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
  operationId: 'listNotifications',
  summary: 'List notifications, newest first',
  description: 'A page at a time, filtered by status, user and channel.',
  ...secured('notifications:read'),
  request: { query: pageQuery.extend(notificationFilters) },
  responses: {
    200: jsonResponse(pageOf(NotificationView), 'A page of notifications', 'Link'),
    ...problemsOf('invalid-cursor', 'validation-failed'),
  },
});

const create = createRoute({
  method: 'post',
  path: '/',
  operationId: 'createNotification',
  summary: 'Create a notification',
  description:
    'Queues an email to a user or an address, and a webhook for every endpoint that subscribed to the type. Returns the email.',
  ...secured('notifications:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { body: jsonBody(NotificationInput) },
  responses: {
    202: jsonResponse(NotificationView, 'Queued', 'Location', 'Idempotent-Replayed'),
    ...problemsOf(...ofJson, ...ofKeys),
  },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  operationId: 'getNotification',
  summary: 'Read a notification',
  description: 'With every attempt that was made to deliver it.',
  ...secured('notifications:read'),
  request: { params: idParam },
  responses: { 200: jsonResponse(NotificationWithAttempts, 'The notification'), ...problemsOf('not-found') },
});

const redrive = createRoute({
  method: 'post',
  path: '/{id}/redrive',
  operationId: 'redriveNotification',
  summary: 'Make a dead notification due again',
  description: 'Its attempts are counted from zero.',
  ...secured('notifications:write'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(NotificationView, 'Pending again'),
    ...problemsOf(...ofWrites, 'not-found', 'conflict'),
  },
});

const cancel = createRoute({
  method: 'post',
  path: '/{id}/cancel',
  operationId: 'cancelNotification',
  summary: 'Cancel a pending notification',
  description: 'It is not sent any more. One that is being delivered this moment cannot be canceled.',
  ...secured('notifications:write'),
  request: { params: idParam },
  responses: { 200: jsonResponse(NotificationView, 'Canceled'), ...problemsOf(...ofWrites, 'not-found', 'conflict') },
});

export const notificationsRoutes = router()
  .openapi(list, async (c) => {
    const query = c.req.valid('query');
    const { status, userId, channel } = query;
    const page = { ...pageOfQuery(c, query), status, userId, channel };
    return pageResponse(c, query, await listNotifications(c.env.db, page, c.get('signal')));
  })
  .openapi(create, async (c) => {
    const input = c.req.valid('json');
    const reservation = reservationOf<z.infer<typeof NotificationView>, 202>(c, input);
    const { userId = null, email = null, type } = input;
    const values = { ...reservation, userId, email, type, id: uuidv7(), data: JSON.stringify(input.data) };
    const row = await createNotification(c.env.db, values, c.get('signal'));
    if (!row) {
      const errors = [{ detail: 'there is no such user', pointer: '#/userId' }];
      throw new AppError('validation-failed', 'There is no such user.', { errors });
    }
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .openapi(read, async (c) => json(c, await findNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200))
  .openapi(redrive, async (c) => {
    const notification = await redriveNotification(c.env.db, c.req.valid('param').id, c.get('signal'));
    c.env.wake();
    return json(c, notification, 200);
  })
  .openapi(cancel, async (c) =>
    json(c, await cancelNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200),
  );
