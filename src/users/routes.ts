import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import { AppError } from '../errors.ts';
import { conditional, etagOf, ifMatch } from '../http/etag.ts';
import { answerWith, claimOf } from '../http/idempotency.ts';
import { pageOf, pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import { bodyProblemsOf, idParam, jsonBody, jsonResponse, problemsOf, router, secured } from '../http/route.ts';
import { email, UserInput, UserView, viewOf } from './schema.ts';
import { createUser, findUser, listUsers, removeUser, updateUser } from './store.ts';

const query = pageQuery.extend({ email: email.optional() });

const list = createRoute({
  method: 'get',
  path: '/',
  summary: 'List users in order of creation',
  ...secured('users:read'),
  request: { query },
  responses: { 200: jsonResponse(pageOf(UserView), 'A page of users'), ...problemsOf(400, 422) },
});

const create = createRoute({
  method: 'post',
  path: '/',
  summary: 'Create a user',
  ...secured('users:write'),
  request: { body: jsonBody(UserInput) },
  responses: { 201: jsonResponse(UserView, 'The new user'), ...bodyProblemsOf(409) },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  summary: 'Read a user',
  ...secured('users:read'),
  request: { params: idParam },
  responses: { 200: jsonResponse(UserView, 'The user'), 304: { description: 'Not modified' }, ...problemsOf(404) },
});

const replace = createRoute({
  method: 'put',
  path: '/{id}',
  summary: 'Replace a user',
  ...secured('users:write'),
  request: { params: idParam, body: jsonBody(UserInput) },
  responses: { 200: jsonResponse(UserView, 'The changed user'), ...bodyProblemsOf(404, 409, 412) },
});

const remove = createRoute({
  method: 'delete',
  path: '/{id}',
  summary: 'Delete a user',
  ...secured('users:write'),
  request: { params: idParam },
  responses: { 204: { description: 'Deleted' }, ...problemsOf(404, 412, 422) },
});

export const usersRoutes = router()
  .openapi(list, async (c) => {
    const query = c.req.valid('query');
    const page = { ...pageOfQuery(c, query), email: query.email };
    return pageResponse(c, query, await listUsers(c.env.db, page, c.get('signal')), viewOf);
  })
  .openapi(create, async (c) => {
    const input = c.req.valid('json');
    const now = c.env.now();
    const user = { id: uuidv7(), ...input, version: 1, createdAt: now, updatedAt: now };
    const answer = {
      status: 201 as const,
      headers: { Location: `/api/v1/users/${user.id}`, ETag: etagOf(user.version) },
      body: viewOf(user),
    };
    const claim = await claimOf(c, input, answer);
    const row = await createUser(
      c.env.db,
      { ...claim, ...input, id: user.id, now: now.toISOString() },
      c.get('signal'),
    );
    c.env.wake();
    return answerWith(c, claim, row);
  })
  .openapi(read, async (c) => {
    const user = await findUser(c.env.db, c.req.valid('param').id, c.get('signal'));
    if (!user) throw new AppError('not-found', 'There is no such user.');
    return conditional(c, user.version, viewOf(user));
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
    c.header('ETag', etagOf(user.version));
    return c.json(viewOf(user), 200);
  })
  .openapi(remove, async (c) => {
    await removeUser(c.env.db, c.req.valid('param').id, ifMatch(c), c.get('signal'));
    c.env.wake();
    return c.body(null, 204);
  });
