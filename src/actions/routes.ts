import { json } from '../http/answer.ts';
import { actorOf, router } from '../http/context.ts';
import { conditionalOnContent } from '../http/etag.ts';
import { operation } from '../http/operation.ts';
import { pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import { ActionView } from './schema.ts';
import { findAction, listActions, stopAction } from './store.ts';

const actions: Resource = {
  name: 'Action',
  description: 'Records of redrives, cancellations, tests and endpoint changes, with the progress of bulk actions.',
  scopes: { read: 'notifications:read', write: 'notifications:write' },
  view: ActionView.schema,
};

const list = operation.list(actions, { description: 'Returns a page, newest first. Kept for `RETENTION_DAYS`.' });
const read = operation.read(actions, {
  description: 'While it is `running`, `done` grows: poll it to follow its progress. Returns 304 if the ETag matches.',
});
const stop = operation.of(actions, 'write', {
  operationId: 'stopAction',
  summary: 'Stop a running action',
  description: 'Completed changes are kept; `done` is their number.',
  answers: { 200: { description: 'The stopped action', schema: ActionView.schema } },
  problems: ['outcome-unknown', 'not-found', 'conflict'],
});

export const actionsRoutes = router()
  .get('/', list, validate('query', pageQuery), async (c) => {
    const query = c.req.valid('query');
    return pageResponse(c, query, await listActions(c.env.db, pageOfQuery(c, query), c.get('signal')));
  })
  .get('/:id', read, byId, async (c) =>
    conditionalOnContent(c, await findAction(c.env.db, c.req.valid('param').id, c.get('signal'))),
  )
  .post('/:id/stop', stop, byId, async (c) =>
    json(c, await stopAction(c.env.db, { ...c.req.valid('param'), ...actorOf(c) }, c.get('signal')), 200),
  );
