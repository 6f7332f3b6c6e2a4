import { sql } from 'drizzle-orm';
import { columns, type Db, rfc3339, statement } from '../db.ts';
import { type ClaimRow, type ClaimValues, claim } from '../idempotency/claim.ts';
import { queue } from '../notifications/outbox.ts';
import { type Team, teams } from './schema.ts';

const find = statement<{ id: string }, Team>(
  'teams.find',
  ($) => sql`select ${columns(teams)} from ${teams} where id = ${$.id}::uuid`,
);

export async function findTeam(db: Db, id: string, signal: AbortSignal): Promise<Team | undefined> {
  return (await db.run(find, { id }, signal))[0];
}

const view = sql`json_build_object('id', changed.id, 'name', changed.name, 'version', changed.version,
  'createdAt', ${rfc3339(sql`changed.created_at`)}, 'updatedAt', ${rfc3339(sql`changed.updated_at`)})`;

const create = statement<{ id: string; name: string; now: string } & ClaimValues, ClaimRow>(
  'teams.create',
  ($) => sql`
    with ${claim($)}, changed as (
      insert into ${teams} (id, name, created_at, updated_at)
      select ${$.id}::uuid, ${$.name}::text, ${$.now}::timestamptz, ${$.now}::timestamptz from claim where fresh
      returning *
    ), ${queue({ from: sql`changed`, userId: sql`null::uuid`, type: sql`'team.created'`, data: view })}
    select fresh, fingerprint, response from claim`,
);

/** Creates the team, claims the idempotency key and queues the notifications. */
export async function createTeam(
  db: Db,
  team: { id: string; name: string; now: string } & ClaimValues,
  signal: AbortSignal,
): Promise<ClaimRow> {
  const [row] = await db.run(create, team, signal);
  if (!row) throw new Error('teams.create returned no row');
  return row;
}
