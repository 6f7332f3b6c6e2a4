// What a claim costs beside backlogs that it cannot take: pages, which no machine changes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { claimDeliveries } from '../../src/dispatcher/claims.ts';
import { EMAIL_LANE, FIRST_LANE } from '../../src/dispatcher/lanes.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { createDatabase } from '../support/databases.ts';
import { inTime, noDb, silent } from '../support/deps.ts';
import { enqueue, execute, newEndpoint } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';

const BACKLOG = 100_000;

let database: Awaited<ReturnType<typeof createDatabase>>;
let open: ReturnType<typeof openPostgres>;
before(async () => {
  database = await createDatabase();
  open = openPostgres({ url: database.url, poolMax: 2, statementTimeoutMs: 30_000, log: silent });
});
after(async () => {
  await open.close();
  await database.drop();
});

type Plan = { [measure: string]: unknown; Plans?: Plan[] };

/** Makes a claim with these `rooms`, and returns how Postgres went about it. */
async function explain(rooms: Record<string, number>): Promise<Plan> {
  let plan: Record<string, unknown>[] = [];
  const explaining: Db = {
    ...noDb,
    run: async (statement, values) => {
      const params = statement.params(values);
      plan = await query(database.name, `explain (analyze, buffers, format json) ${statement.text}`, params);
      return [];
    },
  };
  const lease = crypto.randomUUID();
  const request = {
    limit: 100,
    maxBytes: 1e6,
    slow: 0,
    unnamed: 10,
    after: FIRST_LANE,
    until: FIRST_LANE,
    leaseMs: 60_000,
    name: 'test',
    everyMs: 5000,
    lease,
    rooms,
  };
  await claimDeliveries(explaining, request, inTime()).catch(() => {});
  return (plan[0] as { 'QUERY PLAN': [{ Plan: Plan }] })['QUERY PLAN'][0].Plan;
}

/** Returns the pages that a claim with these `rooms` reads. */
async function pagesOf(rooms: Record<string, number>): Promise<number> {
  const plan = await explain(rooms);
  return Number(plan['Shared Hit Blocks']) + Number(plan['Shared Read Blocks']);
}

/** How often a plan reads a table. */
const readsOf = (plan: Plan, table: string): number =>
  (plan['Relation Name'] === table ? Number(plan['Actual Loops']) : 0) +
  (plan.Plans ?? []).reduce((sum, each) => sum + readsOf(each, table), 0);

test('a full and a paused endpoint cost a claim a look each, whatever their backlog', async () => {
  const [full, paused, other] = [await newEndpoint(open.db), await newEndpoint(open.db), await newEndpoint(open.db)];
  const pause = `status = 'paused', paused_until = now() + interval '1 hour'`;
  await execute(open.db, `update webhook_endpoints set ${pause} where id = '${paused}'`);
  for (const id of [full, paused, other]) await enqueue(open.db, 5, id);
  await execute(open.db, 'vacuum analyze');
  const before = await pagesOf({ [full]: 0, [other]: 5 });
  for (const id of [full, paused]) await enqueue(open.db, BACKLOG, id);
  await enqueue(open.db, 5, other);
  await execute(open.db, 'vacuum analyze');
  const beside = await pagesOf({ [full]: 0, [other]: 5 });
  assert.ok(beside <= 2 * before, `${beside} pages in place of ${before}`);
});

test('a claim looks up the notification of an email, and of no webhook', async () => {
  await execute(open.db, 'truncate deliveries');
  const endpoint = await newEndpoint(open.db);
  await enqueue(open.db, 7, endpoint);
  await enqueue(open.db, 2);
  const plan = await explain({ [endpoint]: 10, [EMAIL_LANE]: 10 });
  assert.equal(readsOf(plan, 'notifications'), 2);
});
