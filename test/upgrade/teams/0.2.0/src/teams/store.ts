import { sql } from 'drizzle-orm';
import { columns, type Db, rfc3339, statement } from '../db.ts';
import { type ReservationRow, type ReservationValues, reserveKey } from '../idempotency/reserve-key.ts';
import { enqueue } from '../outbox/enqueue.ts';
import { type Team, teams } from './schema.ts';

const find = statement<{ id: string }, Team>(
  'teams.find',
  ($) => sql`select ${columns(teams)} from ${teams} where id = ${$.id}::uuid`,
  'reads',
);

export async function findTeam(db: Db, id: string, signal: AbortSignal): Promise<Team | undefined> {
  return (await db.run(find, { id }, signal))[0];
}

const view = sql`json_build_object('id', changed.id, 'name', changed.name, 'version', changed.version,
  'createdAt', ${rfc3339(sql`changed.created_at`)}, 'updatedAt', ${rfc3339(sql`changed.updated_at`)})`;

const create = statement<{ id: string; name: string; now: string } & ReservationValues, ReservationRow>(
  'teams.create',
  ($) => sql`
    with ${reserveKey($)}, changed as (
      insert into ${teams} (id, name, created_at, updated_at)
      select ${$.id}::uuid, ${$.name}::text, ${$.now}::timestamptz, ${$.now}::timestamptz
      from reservation where fresh
      returning *
    ), ${enqueue({ from: sql`changed`, userId: sql`null::uuid`, type: sql`'team.created'`, data: view })}
    select fresh, same, response from reservation`,
  'inserts',
);

/** Creates the team, reserves the idempotency key and queues the notifications. */
export async function createTeam(
  db: Db,
  team: { id: string; name: string; now: string } & ReservationValues,
  signal: AbortSignal,
): Promise<ReservationRow> {
  const [row] = await db.run(create, team, signal);
  if (!row) throw new Error('teams.create returned no row');
  return row;
}
