import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import { AppError } from '../errors.ts';
import { empty, json, setHeader } from '../http/answer.ts';
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
import { email, idParam, router, secured } from '../http/route.ts';
import { UserInput, UserView } from './schema.ts';
import { createUser, findUser, listUsers, removeUser, updateUser } from './store.ts';

const query = pageQuery.extend({ email: email.optional() });

const list = createRoute({
  method: 'get',
  path: '/',
  operationId: 'listUsers',
  summary: 'List users in order of creation',
  description: 'A page at a time; with `email`, the one user who has it, without regard to case.',
  ...secured('users:read'),
  request: { query },
  responses: {
    200: jsonResponse(pageOf(UserView), 'A page of users', 'Link'),
    ...problemsOf('invalid-cursor', 'validation-failed'),
  },
});

const create = createRoute({
  method: 'post',
  path: '/',
  operationId: 'createUser',
  summary: 'Create a user',
  description: 'Welcomes the user by email and tells every endpoint that subscribed to `user.created`.',
  ...secured('users:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { body: jsonBody(UserInput) },
  responses: {
    201: jsonResponse(UserView, 'The new user', 'Location', 'ETag', 'Idempotent-Replayed'),
    ...problemsOf(...ofJson, ...ofKeys, 'email-taken'),
  },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  operationId: 'getUser',
  summary: 'Read a user',
  description: 'As it is now; with If-None-Match, only where it has changed.',
  ...secured('users:read'),
  parameters: parametersOf('If-None-Match'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(UserView, 'The user', 'ETag'),
    304: emptyResponse('Not modified', 'ETag'),
    ...problemsOf('not-found'),
  },
});

const replace = createRoute({
  method: 'put',
  path: '/{id}',
  operationId: 'replaceUser',
  summary: 'Replace a user',
  description: 'Tells every endpoint that subscribed to `user.updated`. Send If-Match, or the last writer wins.',
  ...secured('users:write'),
  parameters: parametersOf('If-Match'),
  request: { params: idParam, body: jsonBody(UserInput) },
  responses: {
    200: jsonResponse(UserView, 'The changed user', 'ETag'),
    ...problemsOf(...ofJson, ...ofWrites, 'not-found', 'email-taken', 'precondition-failed'),
  },
});

const remove = createRoute({
  method: 'delete',
  path: '/{id}',
  operationId: 'deleteUser',
  summary: 'Delete a user',
  description: 'Tells every endpoint that subscribed to `user.deleted`, with the user as it last was.',
  ...secured('users:write'),
  parameters: parametersOf('If-Match'),
  request: { params: idParam },
  responses: {
    204: emptyResponse('Deleted'),
    ...problemsOf(...ofWrites, 'not-found', 'precondition-failed', 'validation-failed'),
  },
});

export const usersRoutes = router()
  .openapi(list, async (c) => {
    const query = c.req.valid('query');
    const page = { ...pageOfQuery(c, query), email: query.email };
    return pageResponse(c, query, await listUsers(c.env.db, page, c.get('signal')));
  })
  .openapi(create, async (c) => {
    const input = c.req.valid('json');
    const now = c.env.now().toISOString();
    const user = { id: uuidv7(), ...input, version: 1, createdAt: now, updatedAt: now };
    const answer = {
      status: 201 as const,
      headers: { Location: `/api/v1/users/${user.id}`, ETag: etagOf(user.version) },
      body: user,
    };
    const reservation = reservationOf(c, input, answer);
    const row = await createUser(c.env.db, { ...reservation, ...input, id: user.id, now }, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .openapi(read, async (c) => {
    const user = await findUser(c.env.db, c.req.valid('param').id, c.get('signal'));
    if (!user) throw new AppError('not-found', 'There is no such user.');
    return conditional(c, user.version, user);
  })
  .openapi(replace, async (c) => {
    const change = {
      ...c.req.valid('param'),
      ...c.req.valid('json'),
      versions: ifMatch(c),
      now: c.env.now().toISOString(),
    };
    const user = await updateUser(c.env.db, change, c.get('signal'));
    c.env.wake();
    setHeader(c, 'ETag', etagOf(user.version));
    return json(c, user, 200);
  })
  .openapi(remove, async (c) => {
    await removeUser(c.env.db, c.req.valid('param').id, ifMatch(c), c.get('signal'));
    c.env.wake();
    return empty(c, 204);
  });
