import { createRoute } from '@hono/zod-openapi';
import * as z from 'zod';
import type { SecretBox } from '../deps.ts';
import { AppError } from '../errors.ts';
import { abortable } from '../http/abortable.ts';
import { html, json, setHeader } from '../http/answer.ts';
import { plainProblemsOf, plainResponse } from '../http/openapi.ts';
import { problemPage } from '../http/problem-page.ts';
import { notFound, router } from '../http/route.ts';
import { stateOf } from './store.ts';

/** Milliseconds within which the database has to answer for the service to be ready. */
const READY_WITHIN_MS = 1000;

/** Keys that have been seen to open a secret: a look at all endpoints, where the oldest one's key is lost. */
const opening = new WeakSet<SecretBox>();

const health = createRoute({
  method: 'get',
  path: '/health',
  operationId: 'getHealth',
  summary: 'Whether the process lives',
  description: 'Touches nothing: for a supervisor that restarts what does not answer.',
  security: [],
  responses: {
    200: plainResponse(z.object({ status: z.literal('ok') }), 'It lives', 'application/json'),
    ...plainProblemsOf(),
  },
});

const ready = createRoute({
  method: 'get',
  path: '/ready',
  operationId: 'getReadiness',
  summary: 'Whether requests may be sent here',
  description:
    'While the database answers and takes writes, its schema is current, webhook secrets open, and no stop was asked for.',
  security: [],
  responses: {
    200: plainResponse(z.object({ status: z.literal('ready') }), 'It is ready', 'application/json'),
    ...plainProblemsOf('unavailable', 'timeout'),
  },
});

const problem = createRoute({
  method: 'get',
  path: '/problems/{name}',
  operationId: 'getProblem',
  summary: 'Read what a problem means',
  description: 'The page behind the `type` of a problem: what it means, what to do, an example.',
  security: [],
  request: {
    params: z.object({ name: z.string().meta({ param: { name: 'name', in: 'path' }, example: 'not-found' }) }),
  },
  responses: { 200: plainResponse(z.string(), 'A page', 'text/html'), ...plainProblemsOf('not-found', 'unavailable') },
});

export const systemRoutes = router()
  .openapi(health, (c) => json(c, { status: 'ok' as const }, 200))
  .openapi(ready, async (c) => {
    const retryLater = { headers: { 'Retry-After': '1' } };
    if (c.env.draining()) throw new AppError('unavailable', 'The service is shutting down.', retryLater);
    const signal = AbortSignal.any([c.get('signal'), AbortSignal.timeout(READY_WITHIN_MS)]);
    const keyIds = await c.env.secrets.keyIds();
    // What becomes of a statement that is cancelled takes another moment, which nobody need wait for.
    const state = abortable(stateOf(c.env.db, { keyIds, keysOpen: opening.has(c.env.secrets) }, signal), signal);
    const { schemaIsCurrent, keysOpen, writable } = await state.catch((cause) => {
      // Whatever else it is, a missing privilege or a bug among them, is logged and told as it is.
      if (!signal.aborted) throw cause;
      throw new AppError('unavailable', 'The database does not answer.', { ...retryLater, cause });
    });
    if (!schemaIsCurrent) throw new AppError('unavailable', 'The database schema is not current.', retryLater);
    if (!keysOpen) throw new AppError('unavailable', 'The keys for webhook secrets open none of them.', retryLater);
    opening.add(c.env.secrets);
    if (!writable) throw new AppError('unavailable', 'The database is read-only.', retryLater);
    return json(c, { status: 'ready' as const }, 200);
  })
  .openapi(problem, async (c) => {
    const page = problemPage(c.req.valid('param').name);
    if (!page) throw notFound();
    setHeader(c, 'Cache-Control', 'public, max-age=3600');
    setHeader(
      c,
      'Content-Security-Policy',
      "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'",
    );
    return html(c, String(await page));
  });
