// What is pruned, and what is not, whatever else works on it at the same time.
import assert from 'node:assert/strict';
import { after, beforeEach, describe, test } from 'node:test';
import { canceled, type Db } from '../../src/db.ts';
import { prune, pruneEvery, pruneNotifications } from '../../src/dispatcher/housekeeping.ts';
import { pruneIdempotencyKeys } from '../../src/idempotency/reserve-key.ts';
import { redriveNotification } from '../../src/notifications/store.ts';
import { createEndpoint } from '../../src/webhook-endpoints/store.ts';
import { connectTo, onEveryDatabase, openTestPostgres, untilBlocked } from '../support/databases.ts';
import { inTime, noDb, recordingLog } from '../support/deps.ts';
import { execute, rowsOf } from '../support/notifications.ts';
import { claim } from '../support/queue.ts';

const signal = new AbortController().signal;
const DAYS = 30;

/** Returns an id as created `daysAgo`: ids contain their time. */
const idOf = (daysAgo: number, n: number) => {
  const ms = Date.now() - daysAgo * 86_400_000;
  return `${ms
    .toString(16)
    .padStart(12, '0')
    .replace(/^(.{8})/, '$1-')}-7000-8000-${n.toString(16).padStart(12, '0')}`;
};

let made = 0;

/** Creates a message of `daysAgo`, with a notification for each of `finishedDaysAgo`: when it finished, or null. */
async function oldMessage(
  db: Db,
  finishedDaysAgo: (number | null)[],
  { daysAgo = 40, status = 'sent' } = {},
): Promise<{ message: string; notifications: string[] }> {
  const message = idOf(daysAgo, ++made);
  const at = (days: number) => `now() - interval '${days} days'`;
  const notifications = finishedDaysAgo.map(() => idOf(daysAgo, ++made));
  const statements = [`insert into messages values ('${message}', 'test.event', '{}', ${at(daysAgo)})`];
  finishedDaysAgo.forEach((days, n) => {
    const id = notifications[n];
    statements.push(
      `insert into notifications (id, message_id, channel, created_at) values ('${id}', '${message}', 'email', ${at(daysAgo)})`,
      `insert into attempts values ('${id}', ${at(daysAgo)}, 1, 500, 'HTTP 500', 'd')`,
      days === null
        ? `insert into deliveries (notification_id, due_at) values ('${id}', now() + interval '1 hour')`
        : `insert into outcomes values ('${id}', '${status}', 2, null, ${at(days)}, 1, 200, 'd')`,
    );
  });
  for (const each of statements) await execute(db, each);
  return { message, notifications };
}

const left = (db: Db) =>
  rowsOf<{ messages: string[]; notifications: number; outcomes: number; attempts: number }>(
    db,
    `select array(select id::text from messages order by id) as messages,
            (select count(*) from notifications)::int as notifications,
            (select count(*) from outcomes)::int as outcomes, (select count(*) from attempts)::int as attempts`,
  ).then(([row]) => row);

const truncate =
  'truncate messages, notifications, deliveries, attempts, outcomes, idempotency_keys, webhook_endpoints';

onEveryDatabase('pruning', (db) => {
  beforeEach(() => execute(db, truncate));

  test('a message goes whole, once all that it was told to was finished for as long as is kept', async () => {
    await oldMessage(db, [40, 31]);
    const young = await oldMessage(db, [40, 29]);
    const waiting = await oldMessage(db, [40, null]);
    const today = await oldMessage(db, [0, 0], { daysAgo: 0 });
    assert.equal(await pruneNotifications(db, DAYS), 2);
    const kept = [young, waiting, today].map(({ message }) => message).sort();
    assert.deepEqual(await left(db), { messages: kept, notifications: 6, outcomes: 5, attempts: 6 });
    await execute(db, `update outcomes set finished_at = finished_at - interval '2 days'`);
    assert.equal(await pruneNotifications(db, DAYS), 2);
    assert.equal(await pruneNotifications(db, DAYS), 0);
    assert.deepEqual((await left(db))?.messages, [waiting, today].map(({ message }) => message).sort());
  });

  test('a message that lost its notifications goes too', async () => {
    await oldMessage(db, []);
    const today = await oldMessage(db, [], { daysAgo: 0 });
    await pruneNotifications(db, DAYS);
    assert.deepEqual((await left(db))?.messages, [today.message]);
  });

  test('one message to more than a batch of recipients goes whole, and so do its neighbours', async () => {
    await oldMessage(db, Array(3).fill(40));
    const crowd = await oldMessage(db, [40]);
    await oldMessage(db, Array(3).fill(40));
    const stays = await oldMessage(db, [1]);
    await execute(
      db,
      `with more as (
         insert into notifications (id, message_id, channel, created_at)
         select uuid_v7(), '${crowd.message}', 'email', now() from generate_series(1, 2500) returning id
       ) insert into outcomes select id, 'sent', 1, null, now() - interval '35 days' from more`,
    );
    assert.equal(await pruneNotifications(db, DAYS), 2507);
    assert.deepEqual(await left(db), { messages: [stays.message], notifications: 1, outcomes: 1, attempts: 1 });
  });
});

describe('pruning beside others', async () => {
  const { db, name, close } = await openTestPostgres();
  after(close);
  beforeEach(() => execute(db, truncate));

  test('two prunings of one message at the same moment leave nothing of it behind', async () => {
    const { notifications } = await oldMessage(db, [40, 40]);
    const [first, second] = [await connectTo(name), await connectTo(name)];
    await second.text('begin');
    await second.text(`select from outcomes where notification_id = '${notifications[1]}' for update`);
    await first.text('begin');
    await pruneNotifications(first.db, DAYS);
    await second.text('rollback');
    await pruneNotifications(second.db, DAYS);
    await first.text('commit');
    await Promise.all([first.close(), second.close()]);
    await pruneNotifications(db, DAYS);
    assert.deepEqual(await left(db), { messages: [], notifications: 0, outcomes: 0, attempts: 0 });
  });

  test('what is redriven at the moment of a pruning is delivered, whichever comes first', async () => {
    for (const order of ['redrive', 'prune'] as const) {
      await execute(db, truncate);
      const { notifications } = await oldMessage(db, [40, 40], { status: 'dead' });
      const [id] = notifications as [string];
      const first = await connectTo(name);
      const redrive = (on: Db) =>
        redriveNotification(on, { id, sub: 'me' }, signal).then(
          () => 'redriven',
          (error) => error.code,
        );
      await first.text('begin');
      let answer: Promise<string>;
      if (order === 'redrive') {
        answer = Promise.resolve(await redrive(first.db));
        const pruned = pruneNotifications(db, DAYS);
        await untilBlocked(name, pruned);
        await first.text('commit');
        await pruned;
      } else {
        await pruneNotifications(first.db, DAYS);
        answer = redrive(db);
        await untilBlocked(name, answer);
        await first.text('commit');
      }
      await first.close();
      await pruneNotifications(db, DAYS);
      const { deliveries } = await claim(db, { limit: 9 });
      if (order === 'redrive') {
        assert.equal(await answer, 'redriven');
        assert.deepEqual([deliveries.map((each) => each.id), deliveries[0]?.body], [[id], '{}']);
        assert.equal((await left(db))?.notifications, 2, 'its sibling too');
      } else {
        assert.equal(await answer, 'conflict');
        assert.deepEqual(await left(db), { messages: [], notifications: 0, outcomes: 0, attempts: 0 });
      }
    }
  });

  test('old messages that cannot go yet cost every batch of what lies behind them nothing', async () => {
    await execute(
      db,
      `with m as (
         insert into messages
         select ('01900000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'test.event', '{}', now()
         from generate_series(1, 9000) i returning id
       ), n as (
         insert into notifications (id, message_id, channel, created_at)
         select id, id, 'email', now() - interval '400 days' from m returning id
       )
       insert into outcomes select id, 'sent', 1, null,
         now() - case when id < '01900000-0000-7000-8000-000000001388' then 1 else 40 end * interval '1 day' from n`,
    );
    await execute(db, 'analyze');
    const client = await connectTo(name);
    const costs: number[] = [];
    const measured: Db = {
      ...noDb,
      run: async (statement, values) => {
        const explained = { ...statement, text: `explain (analyze, format json) ${statement.text}` };
        await client.text('begin');
        const [row] = (await client.db.run(explained, values, inTime())) as unknown as [
          { 'QUERY PLAN': [{ Plan: Plan }] },
        ];
        costs.push(Math.max(...rowsRead(row['QUERY PLAN'][0].Plan)));
        await client.text('rollback');
        return client.db.run(statement, values, inTime());
      },
    };
    assert.equal(await pruneNotifications(measured, DAYS), 4001);
    await client.close();
    assert.ok(costs.length <= 11, `${costs.length} batches`);
    assert.ok(Math.max(...costs) <= 1001, `rows read of one table by the batches: ${costs}`);
  });

  test('an idempotency key that is taken over at the moment of a pruning is kept', async () => {
    const endpoint = (url: string) => ({
      ...{ id: crypto.randomUUID(), url, events: ['a.b'], description: '', secret: 'sealed' },
      createdAt: new Date().toISOString(),
      updatedAt: new Date().toISOString(),
      ...{ keySubject: 's', keyRoute: 'r', key: 'k', keyInput: 'f', keyResponse: url },
      keyHolder: crypto.randomUUID(),
    });
    await createEndpoint(db, endpoint('one'), signal);
    await execute(db, `update idempotency_keys set created_at = now() - interval '25 hours'`);
    const taker = await connectTo(name);
    await taker.text('begin');
    assert.equal((await createEndpoint(taker.db, endpoint('two'), signal)).fresh, true);
    const pruned = pruneIdempotencyKeys(db, 100, inTime());
    await untilBlocked(name, pruned);
    await taker.text('commit');
    await taker.close();
    await pruned;
    const again = await createEndpoint(db, endpoint('two'), signal);
    assert.deepEqual([again.fresh, again.response], [false, 'two']);
  });
});

type Plan = Record<string, unknown> & { Plans?: Plan[] };

/** Returns the rows that each table scan read, including those that it filtered out. */
function rowsRead(plan: Plan): number[] {
  const own = plan['Relation Name']
    ? (Number(plan['Actual Rows']) + Number(plan['Rows Removed by Filter'] ?? 0)) * Number(plan['Actual Loops'])
    : 0;
  return [own, ...(plan.Plans ?? []).flatMap(rowsRead)];
}

test('pruning begins again once it has ended, not while it goes on, and ends when it is told to', async () => {
  const { promise: begun, resolve: begins } = Promise.withResolvers<void>();
  let runs = 0;
  const slow: Db = {
    ...noDb,
    run: (_, __, signal) => {
      runs++;
      begins();
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(canceled())));
    },
  };
  const log = recordingLog();
  const end = pruneEvery(1, { db: slow, log }, 30);
  await begun;
  await new Promise((resolve) => setTimeout(resolve, 20));
  await end();
  assert.deepEqual([runs, log.lines], [1, []]);

  const empty: Db = {
    ...noDb,
    run: async () => {
      runs++;
      return [];
    },
  };
  const endAgain = pruneEvery(1, { db: empty, log }, 30);
  while (runs < 1 + 3 * 2) await new Promise(setImmediate);
  await endAgain();
});

test('pruning asks no more than it may, although there is more, and says what it did', async () => {
  const asked: string[] = [];
  const endless: Db = {
    ...noDb,
    // biome-ignore lint/suspicious/noExplicitAny: a row that fits each of its statements
    run: async ({ name }): Promise<any[]> => {
      asked.push(name);
      const some = name === 'records.prune' ? 0 : 1000;
      return [{ pruned: some, count: some, last: idOf(1, 1), more: true }];
    },
  };
  const log = recordingLog();
  await prune({ db: endless, log }, 30, { statements: 5 });
  assert.equal(asked.length, 5);
  assert.deepEqual(
    log.lines.map(({ level, msg }) => [level, msg]),
    [['info', 'pruned']],
  );
});
