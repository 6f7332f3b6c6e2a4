// What is counted, and what reading it costs.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { pruneRecords } from '../../src/dispatcher/housekeeping.ts';
import type { Settlement } from '../../src/dispatcher/settlements.ts';
import { readStats } from '../../src/stats/store.ts';
import { apiOn } from '../support/api.ts';
import { connectTo, onEveryDatabase, openTestPostgres } from '../support/databases.ts';
import { inTime, noDb } from '../support/deps.ts';
import { enqueue, execute, newEndpoint, rowsOf } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';
import { claim, settle } from '../support/queue.ts';

const read = (db: Db) => readStats(db, inTime());
const exactly = (count: number) => ({ count, estimated: false });

onEveryDatabase('statistics', (db) => {
  test('nothing has happened: everything is zero, null or empty', async () => {
    const { status, json } = await apiOn(db)('GET', '/stats');
    assert.equal(status, 200);
    const { minutes, ...rest } = json;
    assert.equal(minutes.length, 60);
    assert.ok(minutes.every(({ sent, retry, dead }: (typeof minutes)[0]) => sent + retry + dead === 0));
    const none = exactly(0);
    assert.deepEqual(rest, {
      latencyMs: { p50: null, p99: null },
      waitMs: null,
      runMs: null,
      depth: { pending: none, sent: none, dead: none, canceled: none },
      oldestDueS: null,
      endpoints: { enabled: none, paused: none, disabled: none },
      dispatchers: [],
    });
  });

  test('attempts are counted as they are settled, once, with what they waited and how long they ran', async () => {
    const endpoint = await newEndpoint(db);
    await newEndpoint(db);
    await enqueue(db, 8, endpoint);
    const queuedAt = performance.now();
    await execute(db, `update deliveries set queued_at = now() - interval '10 s'`);
    const { deliveries } = await claim(db);
    const outcomes: Settlement['outcome'][] = ['sent', 'sent', 'sent', 'retry', 'interrupted', 'dead', 'release'];
    const results = outcomes.map((outcome, i): Settlement => {
      const { id, lease } = deliveries[i] as (typeof deliveries)[0];
      return { id, lease, outcome, delayMs: 60_000, durationMs: 1000, status: 200, endedAt: -1000 };
    });
    await settle(db, results, 'one');
    const sinceMs = performance.now() - queuedAt;
    // A dispatcher that has lost its lease changes nothing, and is not counted.
    await settle(db, results, 'two');
    const { minutes, ...stats } = await read(db);
    // A minute may have ended meanwhile.
    const sum = (some: typeof minutes, outcome: 'sent' | 'retry' | 'dead') =>
      some.reduce((all, each) => all + each[outcome], 0);
    assert.deepEqual(
      (['sent', 'retry', 'dead'] as const).map((outcome) => [
        sum(minutes.slice(-2), outcome),
        sum(minutes.slice(0, -2), outcome),
      ]),
      [
        [3, 0],
        [2, 0],
        [1, 0],
      ],
    );
    const { p50, p99 } = stats.latencyMs as { p50: number; p99: number };
    assert.ok(p50 > 8000 && p99 < 11_000 + sinceMs, `${p50}, ${p99}`);
    // Of the six, the one that was interrupted is not a first attempt yet.
    const waitMs = stats.waitMs as number;
    assert.ok(waitMs > 7100 && waitMs < 8900 + sinceMs, `${waitMs}`);
    assert.equal(stats.runMs, 1000);
    assert.deepEqual(stats.depth, {
      pending: exactly(4),
      sent: exactly(3),
      dead: exactly(1),
      canceled: exactly(0),
    });
    assert.ok((stats.oldestDueS as number) >= 0 && (stats.oldestDueS as number) < 60, 'the one that was released');
    assert.deepEqual(stats.endpoints, { enabled: exactly(2), paused: exactly(0), disabled: exactly(0) });
  });

  test('a second attempt that is interrupted is no first attempt', async () => {
    const firsts = async () =>
      (await rowsOf<{ n: number }>(db, 'select sum(firsts)::int as n from delivery_stats'))[0]?.n;
    await execute(db, 'delete from deliveries');
    await enqueue(db, 1);
    const settleNext = async (outcome: Settlement['outcome']) => {
      const [held] = (await claim(db)).deliveries;
      const { id, lease, attempt } = held as NonNullable<typeof held>;
      await settle(db, [{ id, lease, outcome, delayMs: 0, durationMs: 1000, status: 500 }], 'one');
      return attempt;
    };
    const before = (await firsts()) ?? 0;
    assert.deepEqual([await settleNext('retry'), await firsts()], [1, before + 1]);
    assert.deepEqual([await settleNext('interrupted'), await firsts()], [2, before + 1]);
  });

  test('an endpoint whose pause has ended is enabled', async () => {
    const endpoint = await newEndpoint(db);
    const counts = async (until: string) => {
      await execute(
        db,
        `update webhook_endpoints set status = 'paused', paused_until = ${until} where id = '${endpoint}'`,
      );
      const { enabled, paused } = (await read(db)).endpoints;
      return [enabled, paused];
    };
    assert.deepEqual(await counts("'infinity'"), [exactly(2), exactly(1)]);
    assert.deepEqual(await counts("now() + interval '1 min'"), [exactly(2), exactly(1)]);
    assert.deepEqual(await counts("now() - interval '1 s'"), [exactly(3), exactly(0)]);
  });

  test('the oldest due one is an email, however many endpoints have something queued', async () => {
    await execute(
      db,
      `with e as (
         insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
         select uuid_v7(), 'https://example.com/', '{none.ever}', '', now(), now() from generate_series(1, 1001)
         returning id
       ), m as (
         insert into messages values (uuid_v7(), 'x', '{}', now()) returning id
       ), n as (
         insert into notifications (id, message_id, channel, endpoint_id, recipient, created_at)
         select uuid_v7(), m.id, 'webhook', e.id, null, now() from m, e
         union all select uuid_v7(), m.id, 'email', null, 'a@example.com', now() from m
         returning id, endpoint_id
       )
       insert into deliveries (notification_id, endpoint_id, due_at, bytes)
       select id, endpoint_id, now() + case when endpoint_id is null then -interval '1 hour' else interval '1 hour' end, 2
       from n`,
    );
    const { oldestDueS } = await read(db);
    assert.ok(oldestDueS !== null && oldestDueS >= 3600 && oldestDueS < 3700, `${oldestDueS}`);
  });

  test('a redriven one waits from its redrive', async () => {
    await execute(db, 'truncate delivery_stats, messages, notifications, deliveries, outcomes, attempts');
    const [id] = await enqueue(db, 1);
    await execute(
      db,
      `with gone as (delete from deliveries) insert into outcomes values ('${id}', 'dead', 1, null, now(), 5, 500, 'd')`,
    );
    await execute(db, `update notifications set created_at = now() - interval '9 days'`);
    assert.equal((await apiOn(db)('POST', `/notifications/${id}/redrive`)).status, 200);
    const { deliveries } = await claim(db);
    await settle(
      db,
      deliveries.map(({ lease }) => ({ id: id as string, lease, outcome: 'sent', durationMs: 1 })),
      'd',
    );
    const { p50, p99 } = (await read(db)).latencyMs;
    assert.ok(p50 !== null && p50 === p99 && p50 < 60_000, `${p50}`);
  });

  test('a dispatcher is alive as long as it claims as often as it says; its claims write that seldom', async () => {
    await execute(db, 'truncate dispatchers');
    const versions = () => rowsOf<{ xmin: string }>(db, `select xmin::text from dispatchers where id = 'often'`);
    await claim(db, { name: 'often', everyMs: 5000 });
    const first = await versions();
    for (let i = 0; i < 3; i++) await claim(db, { name: 'often', everyMs: 5000 });
    assert.deepEqual(await versions(), first);
    await claim(db, { name: 'seldom', everyMs: 900_000 });
    await claim(db, { name: 'gone', everyMs: 5000 });
    await claim(db, { name: 'forgotten', everyMs: 5000 });
    const ago = (id: string, ago: string) =>
      execute(db, `update dispatchers set last_seen = now() - interval '${ago}' where id = '${id}'`);
    await ago('seldom', '20 minutes');
    await ago('gone', '31 seconds');
    await ago('forgotten', '26 hours');
    const seen = (await read(db)).dispatchers.map(({ id, alive }) => [id, alive]);
    assert.deepEqual(seen, [
      ['often', true],
      ['gone', false],
      ['seldom', true],
    ]);
    await claim(db, { name: 'gone', everyMs: 5000 });
    assert.equal((await read(db)).dispatchers.find(({ id }) => id === 'gone')?.alive, true);
  });

  test('statistics go after 25 hours, actions after as many days as notifications; one that runs stays', async () => {
    await execute(db, 'truncate delivery_stats, dispatchers, actions');
    const old = (days: number) =>
      `('${(Date.now() - days * 86_400_000).toString(16).padStart(12, '0')}' || repeat('0', 20))::uuid`;
    await execute(
      db,
      `insert into delivery_stats select now() - (h + 0.5) * interval '1 hour', 'd', 'sent', 1, 1, 1, 1, 1 from generate_series(23, 27) h;`,
    );
    await execute(
      db,
      `insert into dispatchers values ('a', now() - interval '26 hours', 1), ('b', now() - interval '24 hours', 1)`,
    );
    await execute(
      db,
      `insert into actions (id, action, sub, status) values (${old(31)}, 'old', 's', 'finished'),
       (${old(32)}, 'running', 's', 'running'), (${old(29)}, 'new', 's', 'stopped')`,
    );
    assert.equal(await pruneRecords(db, 36_500, inTime()), 0, 'as good as for ever');
    assert.equal(await pruneRecords(db, 30, inTime()), 1);
    const [left] = await rowsOf(
      db,
      `select (select count(*) from delivery_stats)::int as stats, (select string_agg(id, ',') from dispatchers) as seen,
              (select string_agg(action, ',' order by action) from actions) as actions`,
    );
    assert.deepEqual(left, { stats: 2, seen: 'b', actions: 'new,running' });
  });
});

describe('the cost of statistics', () => {
  let database: Awaited<ReturnType<typeof openTestPostgres>>;
  before(async () => {
    database = await openTestPostgres();
  });
  after(() => database.close());

  const finish = (count: number) =>
    query(
      database.name,
      `insert into outcomes
       select uuid_v7(), case when i % 3 = 0 then 'sent' when i % 3 = 1 then 'dead' else 'canceled' end, 1, null, now(), 1, 200, 'd'
       from generate_series(1, ${count}) i`,
    );

  type Node = { Plans?: Node[] } & Record<string, number | string | undefined>;
  const numberOf = (node: Node, name: string) => Number(node[name] ?? 0);
  /** Rows of our own tables that a plan looks at, including those that a filter drops. */
  const rowsIn = (node: Node): number =>
    (node.Plans ?? []).reduce((sum, each) => sum + rowsIn(each), 0) +
    (node['Relation Name'] === undefined || String(node['Relation Name']).startsWith('pg_')
      ? 0
      : (numberOf(node, 'Actual Rows') + numberOf(node, 'Rows Removed by Filter')) * numberOf(node, 'Actual Loops'));

  /** The rows that the one statement looks at, and the number of statements. Pages depend on the plan for catalogs. */
  async function costOf(): Promise<{ rows: number; pages: number; statements: number }> {
    const client = await connectTo(database.name);
    let statements = 0;
    let pages = 0;
    let rows = 0;
    const explaining: Db = {
      ...noDb,
      run: async (statement, values) => {
        statements++;
        const text = `explain (analyze, buffers, format json) ${statement.text}`;
        // What is read once per connection, such as catalogs, is not counted.
        for (let i = 0; i < 2; i++) {
          const [row] = (await client.db.run({ ...statement, text }, values, inTime())) as unknown as [
            { 'QUERY PLAN': [{ Plan: Node }] },
          ];
          const { Plan } = row['QUERY PLAN'][0];
          pages = numberOf(Plan, 'Shared Hit Blocks') + numberOf(Plan, 'Shared Read Blocks');
          rows = rowsIn(Plan);
        }
        return [];
      },
    };
    await readStats(explaining, inTime()).catch(() => {});
    await client.close();
    return { rows, pages, statements };
  }

  test('does not grow with the endpoints whose pauses have ended', async () => {
    const pause = (count: number) =>
      query(
        database.name,
        `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at, status, paused_until)
         select uuid_v7(), 'https://example.com/', '{}', 's', now(), now(), 'paused', now() - interval '1 day'
         from generate_series(1, ${count})`,
      );
    await pause(1500);
    await query(database.name, 'vacuum analyze');
    const few = await costOf();
    await pause(10_000);
    await query(database.name, 'vacuum analyze');
    assert.equal((await costOf()).rows, few.rows);
    const { enabled, paused } = (await read(database.db)).endpoints;
    assert.deepEqual(
      [paused, enabled],
      [
        { count: 0, estimated: true },
        { count: 11_500, estimated: true },
      ],
    );
    await query(database.name, 'truncate webhook_endpoints');
  });

  test('with a million finished notifications, of any outcome, is what it is with a thousand', async (t) => {
    await finish(3000);
    await query(database.name, 'vacuum analyze');
    const few = await costOf();
    await finish(1_000_000);
    await query(database.name, 'vacuum analyze');
    const many = await costOf();
    t.diagnostic(`${few.rows} rows, ${many.rows} with a million; ${few.pages} and ${many.pages} pages`);
    assert.equal(many.statements, 1);
    // The planner has two ways to count a few thousand, and its choice depends on its sample.
    assert.ok(many.rows <= Math.max(1.2 * few.rows, 10_000), `${many.rows} rows in place of ${few.rows}`);
    const { depth } = await read(database.db);
    for (const status of ['sent', 'dead', 'canceled'] as const) {
      assert.equal(depth[status].estimated, true);
      assert.ok(Math.abs(depth[status].count - 334_333) < 40_000, JSON.stringify(depth));
    }
  });
});
