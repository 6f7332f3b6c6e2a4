import { json } from '../http/answer.ts';
import { router } from '../http/context.ts';
import { operation } from '../http/operation.ts';
import type { Resource } from '../http/resource.ts';
import { StatsView } from './schema.ts';

const stats: Resource = {
  name: 'Stats',
  plural: 'Stats',
  description: 'Delivery statistics. A count is exact unless `estimated` is true.',
  scopes: { read: 'notifications:read', write: 'notifications:write' },
  view: StatsView,
};

const read = operation.of(stats, 'read', {
  operationId: 'getStats',
  summary: 'Get statistics',
  description: 'Attempts of the last hour, the queue, endpoints by status, and which dispatchers are alive.',
  answers: { 200: { description: 'The statistics', schema: StatsView } },
  problems: [],
});

export const statsRoutes = router().get('/', read, async (c) => {
  // Not part of startup on Workers.
  const { readStats } = await import('./store.ts');
  return json(c, await readStats(c.env.db, c.get('signal')), 200);
});
