import { createRoute } from '@hono/zod-openapi';
import { v7 as uuidv7 } from 'uuid';
import { AppError } from '../errors.ts';
import { conditional, etagOf } from '../http/etag.ts';
import { answerWith, claimOf } from '../http/idempotency.ts';
import { emptyResponse, jsonBody, jsonResponse, ofJson, ofKeys, parametersOf, problemsOf } from '../http/openapi.ts';
import { idParam, router, secured } from '../http/route.ts';
import { TeamInput, TeamView, viewOf } from './schema.ts';
import { createTeam, findTeam } from './store.ts';

const create = createRoute({
  method: 'post',
  path: '/',
  operationId: 'createTeam',
  summary: 'Create a team',
  description: 'Tells every endpoint that subscribed to `team.created`.',
  ...secured('teams:write'),
  parameters: parametersOf('Idempotency-Key'),
  request: { body: jsonBody(TeamInput) },
  responses: {
    201: jsonResponse(TeamView, 'The new team', 'Location', 'ETag', 'Idempotent-Replayed'),
    ...problemsOf(...ofJson, ...ofKeys),
  },
});

const read = createRoute({
  method: 'get',
  path: '/{id}',
  operationId: 'getTeam',
  summary: 'Read a team',
  description: 'As it is now; with If-None-Match, only where it has changed.',
  ...secured('teams:read'),
  parameters: parametersOf('If-None-Match'),
  request: { params: idParam },
  responses: {
    200: jsonResponse(TeamView, 'The team', 'ETag'),
    304: emptyResponse('Not modified', 'ETag'),
    ...problemsOf('not-found'),
  },
});

export const teamsRoutes = router()
  .openapi(create, async (c) => {
    const input = c.req.valid('json');
    const now = c.env.now();
    const team = { id: uuidv7(), ...input, version: 1, createdAt: now, updatedAt: now };
    const answer = {
      status: 201 as const,
      headers: { Location: `/api/v1/teams/${team.id}`, ETag: etagOf(team.version) },
      body: viewOf(team),
    };
    const claim = await claimOf(c, input, answer);
    const values = { ...claim, ...input, id: team.id, now: now.toISOString() };
    const row = await createTeam(c.env.db, values, c.get('signal'));
    c.env.wake();
    return answerWith(c, claim, row);
  })
  .openapi(read, async (c) => {
    const team = await findTeam(c.env.db, c.req.valid('param').id, c.get('signal'));
    if (!team) throw new AppError('not-found', 'There is no such team.');
    return conditional(c, team.version, viewOf(team));
  });
