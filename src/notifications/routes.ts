import { v7 as uuidv7 } from 'uuid';
import { type Action, ActionView } from '../actions/schema.ts';
import { json } from '../http/answer.ts';
import { actorOf, type Ctx, router } from '../http/context.ts';
import { conditionalOnContent } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { ofJson, operation } from '../http/operation.ts';
import { pageOfQuery, pageUpTo } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import {
  type BulkFilter,
  CancelInput,
  eitherRecipient,
  type Notification,
  NotificationInput,
  NotificationQuery,
  NotificationView,
  NotificationWithAttempts,
  RedriveInput,
} from './schema.ts';
import {
  type Bulk,
  cancelNotification,
  createNotification,
  findNotification,
  listNotifications,
  redriveNotification,
  startBulk,
} from './store.ts';

const notifications: Resource = {
  name: 'Notification',
  description: 'Webhook and email deliveries (at least once).',
  scopes: { read: 'notifications:read', write: 'notifications:write' },
  view: NotificationView,
};

const list = operation.list(notifications, {
  description:
    'Returns a page, newest first. A page scans at most 10,000 notifications. With selective filters it can be short or ' +
    'empty and still have a `nextCursor`.',
});
const create = operation.idempotent(notifications, {
  operationId: 'createNotification',
  summary: 'Create a notification',
  description:
    'Queues an email to a user or an address, and a webhook for every endpoint that subscribed to the type. Returns the email.',
  answers: { 202: { description: 'Queued', schema: NotificationView, headers: ['Location', 'Idempotent-Replayed'] } },
  problems: ofJson,
});
const read = operation.read(notifications, {
  description: 'Includes its payload and the last 101 attempts. Returns 304 if the ETag matches.',
  shows: NotificationWithAttempts,
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
/** What bulk actions have in common. */
const onAll = (name: string, summary: string, description: string) =>
  operation.idempotent(notifications, {
    operationId: name,
    summary,
    description:
      `${description} Returns how many match. Dispatchers process them in batches. Poll the URL in \`Location\`. ` +
      'To stop the action: `POST /api/v1/actions/{id}/stop`.',
    answers: {
      202: { description: 'The action', schema: ActionView.schema, headers: ['Location', 'Idempotent-Replayed'] },
    },
    problems: ofJson,
  });
const redriveAll = onAll(
  'redriveNotifications',
  'Redrive all dead notifications that match',
  'Those that match now are due at once, each time once, and their attempts are counted from zero.',
);
const cancelAll = onAll(
  'cancelNotifications',
  'Cancel all pending notifications that match',
  'Those that match now are not sent, except for those that are being delivered.',
);

async function startAll(c: Ctx, bulk: Bulk, input: { filter: BulkFilter }) {
  const reservation = reservationOf<Action, 202>(c, input);
  const row = await startBulk(c.env.db, bulk, { ...input, ...reservation, id: uuidv7() }, c.get('signal'));
  c.env.wake();
  return answerWith(c, reservation, row);
}

export const notificationsRoutes = router()
  .get('/', list, validate('query', NotificationQuery), async (c) => {
    const query = c.req.valid('query');
    const page = { ...query, ...pageOfQuery(c, query) };
    return pageUpTo(c, query, await listNotifications(c.env.db, page, c.get('signal')));
  })
  .post('/', create, validate('json', NotificationInput, eitherRecipient), async (c) => {
    const input = c.req.valid('json');
    const { userId = null, email = null } = input;
    const reservation = reservationOf<Notification, 202>(c, input);
    const values = { ...input, ...reservation, id: uuidv7(), userId, email };
    const row = await createNotification(c.env.db, values, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .post('/redrive', redriveAll, validate('json', RedriveInput), (c) => startAll(c, 'redrive', c.req.valid('json')))
  .post('/cancel', cancelAll, validate('json', CancelInput), (c) => startAll(c, 'cancel', c.req.valid('json')))
  .get('/:id', read, byId, async (c) =>
    conditionalOnContent(c, await findNotification(c.env.db, c.req.valid('param').id, c.get('signal'))),
  )
  .post('/:id/redrive', redrive, byId, async (c) => {
    const notification = await redriveNotification(
      c.env.db,
      { ...c.req.valid('param'), ...actorOf(c) },
      c.get('signal'),
    );
    c.env.wake();
    return json(c, notification, 200);
  })
  .post('/:id/cancel', cancel, byId, async (c) =>
    json(c, await cancelNotification(c.env.db, { ...c.req.valid('param'), ...actorOf(c) }, c.get('signal')), 200),
  );
