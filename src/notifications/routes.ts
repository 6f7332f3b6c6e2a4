import { v7 as uuidv7 } from 'uuid';
import { json } from '../http/answer.ts';
import { router } from '../http/context.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { ofJson, operation } from '../http/operation.ts';
import { pageOfQuery, pageResponse } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import {
  type Notification,
  NotificationInput,
  NotificationQuery,
  NotificationView,
  NotificationWithAttempts,
} from './schema.ts';
import {
  cancelNotification,
  createNotification,
  findNotification,
  listNotifications,
  redriveNotification,
} from './store.ts';

const notifications: Resource = {
  name: 'Notification',
  description: 'Webhook and email deliveries (at least once).',
  scopes: { read: 'notifications:read', write: 'notifications:write' },
  view: NotificationView,
};

const list = operation.list(notifications, {
  description: 'Returns a page, newest first. Filter by status, user and channel.',
});
const create = operation.idempotent(notifications, {
  operationId: 'createNotification',
  summary: 'Create a notification',
  description:
    'Queues an email to a user or an address, and a webhook for every endpoint that subscribed to the type. Returns the email.',
  answers: { 202: { description: 'Queued', schema: NotificationView, headers: ['Location', 'Idempotent-Replayed'] } },
  problems: ofJson,
});
const read = operation.of(notifications, 'read', {
  operationId: 'getNotification',
  summary: 'Get a notification',
  description: 'Includes its payload and every delivery attempt.',
  answers: { 200: { description: 'The notification', schema: NotificationWithAttempts } },
  problems: ['not-found'],
});
const redrive = operation.of(notifications, 'write', {
  operationId: 'redriveNotification',
  summary: 'Redrive a dead notification',
  description: 'It is due at once, and its attempts are counted from zero.',
  answers: { 200: { description: 'The pending notification', schema: NotificationView } },
  problems: ['outcome-unknown', 'not-found', 'conflict'],
});
const cancel = operation.of(notifications, 'write', {
  operationId: 'cancelNotification',
  summary: 'Cancel a pending notification',
  description: 'It is not sent. A notification cannot be canceled while it is being delivered.',
  answers: { 200: { description: 'The canceled notification', schema: NotificationView } },
  problems: ['outcome-unknown', 'not-found', 'conflict'],
});

export const notificationsRoutes = router()
  .get('/', list, validate('query', NotificationQuery), async (c) => {
    const query = c.req.valid('query');
    const page = { ...query, ...pageOfQuery(c, query) };
    return pageResponse(c, query, await listNotifications(c.env.db, page, c.get('signal')));
  })
  .post('/', create, validate('json', NotificationInput), async (c) => {
    const input = c.req.valid('json');
    const { userId = null, email = null } = input;
    const reservation = reservationOf<Notification, 202>(c, input);
    const values = { ...input, ...reservation, id: uuidv7(), userId, email };
    const row = await createNotification(c.env.db, values, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .get('/:id', read, byId, async (c) =>
    json(c, await findNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200),
  )
  .post('/:id/redrive', redrive, byId, async (c) => {
    const notification = await redriveNotification(c.env.db, c.req.valid('param').id, c.get('signal'));
    c.env.wake();
    return json(c, notification, 200);
  })
  .post('/:id/cancel', cancel, byId, async (c) =>
    json(c, await cancelNotification(c.env.db, c.req.valid('param').id, c.get('signal')), 200),
  );
