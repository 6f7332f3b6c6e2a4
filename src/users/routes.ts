import { empty } from '../http/answer.ts';
import { router } from '../http/context.ts';
import { created, newRow } from '../http/created.ts';
import { conditional, withEtag, writeOf } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { operation } from '../http/operation.ts';
import { pageOfQuery, pageResponse } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import { UserInput, UserQuery, UserView } from './schema.ts';
import { createUser, findUser, listUsers, removeUser, updateUser } from './store.ts';

const emailTaken = { code: 'email-taken', detail: 'Another user has this email address.' } as const;

const users: Resource = {
  name: 'User',
  description: 'Email addresses are unique, ignoring case.',
  scopes: { read: 'users:read', write: 'users:write' },
  view: UserView.schema,
  events: {
    'user.created': { description: 'A user was created.' },
    'user.updated': { description: 'A user was changed.' },
    'user.deleted': { description: 'A user was deleted. The data is the user as it last was.' },
  },
  // The second is to be dropped with its index, in 0.3.0.
  constraints: { users_email_caseless: emailTaken, users_email_unique: emailTaken },
};

const list = operation.list(users, {
  description: 'Returns a page, in order of creation. Filter by email (case-insensitive).',
});
const create = operation.create(users, { description: 'Queues a welcome email and a `user.created` event.' });

export const usersRoutes = router()
  .get('/', list, validate('query', UserQuery), async (c) => {
    const query = c.req.valid('query');
    const page = { ...pageOfQuery(c, query), email: query.email };
    return pageResponse(c, query, await listUsers(c.env.db, page, c.get('signal')));
  })
  .post('/', create, validate('json', UserInput), async (c) => {
    const input = c.req.valid('json');
    const user = newRow(c, input);
    const reservation = reservationOf(c, input, created(c, user));
    const row = await createUser(c.env.db, { ...user, ...reservation }, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .get('/:id', operation.read(users), byId, async (c) =>
    conditional(c, await findUser(c.env.db, c.req.valid('param').id, c.get('signal'))),
  )
  .put('/:id', operation.replace(users), byId, validate('json', UserInput), async (c) => {
    const change = { ...c.req.valid('param'), ...c.req.valid('json'), ...writeOf(c) };
    const user = await updateUser(c.env.db, change, c.get('signal'));
    c.env.wake();
    return withEtag(c, user);
  })
  .delete('/:id', operation.remove(users), byId, async (c) => {
    await removeUser(c.env.db, { ...c.req.valid('param'), ...writeOf(c) }, c.get('signal'));
    c.env.wake();
    return empty(c, 204);
  });
