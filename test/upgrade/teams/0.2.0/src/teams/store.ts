import { sql } from 'drizzle-orm';
import { reserveKey } from '../idempotency/reserve-key.ts';
import { enqueue } from '../outbox/enqueue.ts';
import { creating, tableStore } from '../table-store.ts';
import { type Team, TeamView, teams } from './schema.ts';

const store = tableStore(TeamView, 'team');
export const findTeam = store.find;

const event = { from: sql`changed`, type: sql`'team.created'`, data: TeamView.json('changed') };

export const createTeam = creating<Omit<Team, 'version'>>(
  'teams.create',
  ($) => sql`
    with ${reserveKey($)}, changed as (
      insert into ${teams} ${store.values($)} from reservation where fresh returning *
    ), ${enqueue(event)}
    select fresh, same, response from reservation`,
);
