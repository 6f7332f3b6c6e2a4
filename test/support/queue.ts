import { sql } from 'drizzle-orm';
import { type Db, statement } from '../../src/db.ts';
import { type ClaimRequest, claimDeliveries } from '../../src/dispatcher/claims.ts';
import { EMAIL_LANE, FIRST_LANE } from '../../src/dispatcher/lanes.ts';
import { type Settlement, settleDeliveries } from '../../src/dispatcher/settlements.ts';
import { inTime } from './deps.ts';

const lanes = statement<Record<never, never>, { lane: string }>(
  'test.lanes',
  () => sql`select distinct coalesce(endpoint_id::text, ${sql.raw(`'${EMAIL_LANE}'`)}) as lane from deliveries`,
);

type Asked = Partial<ClaimRequest> & { room?: number; leaseMs?: number; name?: string; everyMs?: number };

/** Claims with `room` for every lane that has deliveries, unless `rooms` says otherwise. */
export async function claim(db: Db, { room = 100, rooms = {}, leaseMs = 60_000, ...asked }: Asked = {}) {
  const named = (await db.run(lanes, {}, inTime())).map(({ lane }) => [lane, room]);
  const request = {
    limit: 100,
    maxBytes: 1e6,
    slow: 0,
    unnamed: 0,
    after: FIRST_LANE,
    until: asked.after ?? FIRST_LANE,
    leaseMs,
    name: 'test',
    everyMs: 5000,
    ...asked,
  };
  const all = { ...Object.fromEntries(named), ...rooms };
  return claimDeliveries(db, { ...request, rooms: all, lease: crypto.randomUUID() }, inTime());
}

export const settle = (db: Db, results: Settlement[], dispatcher: string) =>
  settleDeliveries(db, results, { dispatcher, now: 0 }, inTime());
