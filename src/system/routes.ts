import * as z from 'zod/mini';
import type { SecretBox } from '../deps.ts';
import { AppError } from '../errors.ts';
import { documented, lazy } from '../fields.ts';
import { abortable } from '../http/abortable.ts';
import { html, json, setHeader } from '../http/answer.ts';
import { router } from '../http/context.ts';
import { operation } from '../http/operation.ts';
import { notFound, toAppError } from '../http/problem.ts';
import { inPath } from '../http/validate.ts';
import { stateOf } from './store.ts';

/** Milliseconds within which the database has to respond for the service to be ready. */
const READY_WITHIN_MS = 1000;

/** Keys that have opened a secret before: checking may read all endpoints, so it is done once. */
const opening = new WeakSet<SecretBox>();

const health = operation.open({
  operationId: 'getHealth',
  summary: 'Liveness check',
  description: 'Checks the process only. Restart the process if it does not respond.',
  answers: { 200: { description: 'Alive', schema: lazy(() => z.object({ status: z.literal('ok') })) } },
  problems: [],
});

const ready = operation.open({
  operationId: 'getReadiness',
  summary: 'Readiness check',
  description:
    'Returns 200 if the database responds and accepts writes, its schema is current, webhook secrets can be decrypted, and the service is not shutting down.',
  answers: { 200: { description: 'Ready', schema: lazy(() => z.object({ status: z.literal('ready') })) } },
  problems: ['unavailable', 'timeout'],
});

const problem = operation.open({
  operationId: 'getProblem',
  summary: 'Get the page of a problem type',
  description: 'Explains the problem and how to resolve it, with an example.',
  answers: { 200: { description: 'The page', schema: lazy(() => z.string()), type: 'text/html' } },
  problems: ['not-found', 'unavailable'],
});

const ProblemName = lazy(() => z.object({ name: documented(z.string(), { examples: ['not-found'] }) }));

export const systemRoutes = router()
  .get('/health', health, (c) => json(c, { status: 'ok' as const }, 200))
  .get('/ready', ready, async (c) => {
    const retryLater = { headers: { 'Retry-After': '1' } };
    if (c.env.draining()) throw new AppError('unavailable', 'The service is shutting down.', retryLater);
    const signal = AbortSignal.any([c.get('signal'), AbortSignal.timeout(READY_WITHIN_MS)]);
    const keyIds = await c.env.secrets.keyIds();
    // Do not wait for the outcome of a canceled statement.
    const state = abortable(stateOf(c.env.db, { keyIds, keysOpen: opening.has(c.env.secrets) }, signal), signal);
    const { schemaIsCurrent, keysOpen, writable } = await state.catch((cause) => {
      // A missing privilege or a bug also means that the service is not ready, and is logged as what it is.
      if (!signal.aborted) toAppError(cause, c);
      throw new AppError('unavailable', 'The database is unavailable.', retryLater);
    });
    if (!schemaIsCurrent) throw new AppError('unavailable', 'The database schema is not current.', retryLater);
    if (!keysOpen)
      throw new AppError('unavailable', 'No webhook secret can be decrypted with the configured keys.', retryLater);
    opening.add(c.env.secrets);
    if (!writable) throw new AppError('unavailable', 'The database is read-only.', retryLater);
    return json(c, { status: 'ready' as const }, 200);
  })
  .get('/problems/:name', problem, inPath(ProblemName), async (c) => {
    const { problemPage } = await import('../http/problem-page.ts');
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
