import { router } from '../http/context.ts';
import { created, newRow } from '../http/created.ts';
import { conditional } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { operation } from '../http/operation.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import { TeamInput, TeamView } from './schema.ts';
import { createTeam, findTeam } from './store.ts';

const teams: Resource = {
  name: 'Team',
  description: 'Manage teams.',
  scopes: { read: 'teams:read', write: 'teams:write' },
  view: TeamView.schema,
  events: { 'team.created': { description: 'A team was created.' } },
};

export const teamsRoutes = router()
  .post('/', operation.create(teams), validate('json', TeamInput), async (c) => {
    const input = c.req.valid('json');
    const team = newRow(c, input);
    const reservation = reservationOf(c, input, created(c, team));
    const row = await createTeam(c.env.db, { ...team, ...reservation }, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .get('/:id', operation.read(teams), byId, async (c) =>
    conditional(c, await findTeam(c.env.db, c.req.valid('param').id, c.get('signal'))),
  );
