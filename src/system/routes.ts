import { AppError } from '../errors.ts';
import { problemPage } from '../http/problem-page.ts';
import { notFound, router } from '../http/route.ts';
import { schemaIsCurrent } from './store.ts';

/** Milliseconds within which the database has to answer for the service to be ready. */
const READY_WITHIN_MS = 1000;

export const systemRoutes = router();

systemRoutes.get('/health', (c) => c.json({ status: 'ok' }));

systemRoutes.get('/ready', async (c) => {
  const retryLater = { headers: { 'Retry-After': '1' } };
  if (c.env.draining()) throw new AppError('unavailable', 'The service is shutting down.', retryLater);
  const signal = AbortSignal.any([c.get('signal'), AbortSignal.timeout(READY_WITHIN_MS)]);
  const current = await schemaIsCurrent(c.env.db, signal).catch((cause) => {
    throw new AppError('unavailable', 'The database does not answer.', { ...retryLater, cause });
  });
  if (!current) throw new AppError('unavailable', 'The database schema is not current.', retryLater);
  return c.json({ status: 'ready' });
});

systemRoutes.get('/problems/:name', (c) => {
  const page = problemPage(c.req.param('name'));
  if (!page) throw notFound();
  c.header('Cache-Control', 'public, max-age=3600');
  return c.html(page);
});
