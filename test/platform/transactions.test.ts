// What one statement cannot do: see README, "When one statement is not enough".
import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { PGlite } from '@electric-sql/pglite';
import { sql } from 'drizzle-orm';
import { bind, type Db, DbError, type SessionDb, statement } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { startCountingProxy } from '../support/counting-proxy.ts';
import { holdLock, onEveryDatabase, onEverySession, openProxied, ownDatabase } from '../support/databases.ts';
import { inTime, silent } from '../support/deps.ts';
import { openTestPglite } from '../support/pglite-template.ts';
import { query } from '../support/postgres-server.ts';
import { startProxy } from '../support/proxy.ts';

// An order's total is that of its items. A data-modifying CTE would not see the item that another one adds.
const TABLES = [
  'create table orders (id int primary key, total int not null default 0 constraint credit check (total <= 1000))',
  'create table items (id int primary key, order_id int not null, price int not null)',
  'insert into orders values (1), (2), (3), (4)',
];
const setUp = TABLES.map((text, i) => statement<object, unknown>(`test.setUp${i}`, () => sql.raw(text)));

type Item = { id: number; order: number; price: number };
const addItem = statement<Item, { id: number }>(
  'test.addItem',
  ($) => sql`insert into items values (${$.id}::int, ${$.order}::int, ${$.price}::int) returning id`,
);
const sumUp = statement<{ order: number }, { total: number; changedAt: string }>(
  'test.sumUp',
  ($) => sql`update orders set total = (select sum(price) from items where order_id = orders.id)
    where id = ${$.order}::int returning total, now() as "changedAt"`,
);
const lockOrder = statement<{ order: number }, { total: number }>(
  'test.lockOrder',
  ($) => sql`select total from orders where id = ${$.order}::int for update`,
);
const itemIds = statement<{ order: number }, { id: number; readAt: string }>(
  'test.items',
  ($) => sql`select id, now() as "readAt" from items where order_id = ${$.order}::int order by id`,
);
const LOCK = 815;
const waitForLock = statement<object, unknown>('test.waitForLock', () => sql`select pg_advisory_xact_lock(${LOCK})`);
const fail = (code: string) =>
  statement<object, unknown>(`test.fail${code}`, () => sql.raw(`do $$ begin raise sqlstate '${code}'; end $$`));

async function makeTables(db: Db): Promise<void> {
  for (const one of setUp) await db.run(one, {}, inTime());
}

/** Adds an item and returns the new total. */
async function add(db: Db, item: Item, signal = inTime()): Promise<number | undefined> {
  const [, [order]] = await db.batch([bind(addItem, item), bind(sumUp, { order: item.order })], signal);
  return order?.total;
}

const idsOf = async (db: Db, order: number) => (await db.run(itemIds, { order }, inTime())).map(({ id }) => id);
const overCredit = { failure: 'failed', sqlState: '23514', constraint: 'credit' };

onEveryDatabase('a batch', (db) => {
  before(() => makeTables(db));

  test('each statement sees what those before it wrote', async () => {
    assert.equal(await add(db, { id: 11, order: 1, price: 300 }), 300);
    assert.equal(await add(db, { id: 12, order: 1, price: 400 }), 700);
  });

  test('of a batch with one that fails nothing is written, and what comes next goes its way', async () => {
    assert.equal(await add(db, { id: 21, order: 2, price: 900 }), 900);
    await assert.rejects(add(db, { id: 22, order: 2, price: 200 }), overCredit);
    assert.deepEqual(await idsOf(db, 2), [21]);
    const never = bind(
      statement<object, unknown>('test.neverPrepared', () => sql`select 1 as n`),
      {},
    );
    await assert.rejects(db.batch([bind(fail('23514'), {}), never], inTime()), { sqlState: '23514' });
    assert.deepEqual(await db.batch([never], inTime()), [[{ n: 1 }]]);
  });

  test('its statements share a transaction, and rows have the types that run gives them', async () => {
    const add = bind(addItem, { id: 31, order: 3, price: 1 });
    const read = bind(itemIds, { order: 3 });
    for (const _ of ['prepared', 'prepared before']) {
      const [first, second] = await db.batch([read, read], inTime());
      assert.deepEqual([first, second], [[], []]);
    }
    const [[added], [order], [item]] = await db.batch([add, bind(sumUp, { order: 3 }), read], inTime());
    assert.deepEqual([added, order?.total, item?.id], [{ id: 31 }, 1, 31]);
    assert.match(String(item?.readAt), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.equal(item?.readAt, order?.changedAt, 'now() is when the transaction began');
  });

  test('a deadlock, like a serialization failure, is unavailable: try again', async () => {
    for (const code of ['40001', '40P01']) {
      const item = bind(addItem, { id: 41, order: 4, price: 1 });
      const failure = { failure: 'unavailable', sqlState: code };
      await assert.rejects(db.batch([item, bind(fail(code), {})], inTime()), failure);
    }
    assert.deepEqual(await idsOf(db, 4), []);
  });

  test('one whose caller has gone is not begun', async () => {
    const item = { id: 42, order: 4, price: 1 };
    await assert.rejects(add(db, item, AbortSignal.abort()), { failure: 'canceled' });
    await assert.rejects(db.run(addItem, item, AbortSignal.abort()), { failure: 'canceled' });
    assert.deepEqual(await idsOf(db, 4), []);
  });

  test('none is none', async () => {
    assert.deepEqual(await db.batch([], inTime()), []);
  });
});

/** A discount that code computes, where SQL could not. */
const discountOf = (total: number) => Math.floor(total / 100) * 5;

onEverySession('a transaction', (db) => {
  before(() => makeTables(db));

  /** Adds an item at a price that depends on the total, which stays as it was read until the commit. */
  const addDiscounted = (item: Item) =>
    db.transaction(async (tx) => {
      const [order] = await tx.run(lockOrder, { order: item.order }, inTime());
      return add(tx, { ...item, price: item.price - discountOf(order?.total ?? 0) });
    }, inTime());

  test('reads, decides in code and writes, one after the other for one row', async () => {
    const totals = await Promise.all([1, 2, 3].map((id) => addDiscounted({ id, order: 1, price: 200 })));
    assert.deepEqual(
      totals.sort((a = 0, b = 0) => a - b),
      [200, 390, 575],
    );
  });

  test('of one whose work throws nothing is written, and its error comes out as it is', async () => {
    const refusal = new Error('not today');
    const work = async (tx: Db) => {
      await add(tx, { id: 21, order: 2, price: 1 });
      throw refusal;
    };
    await assert.rejects(db.transaction(work, inTime()), refusal);
    assert.deepEqual(await idsOf(db, 2), []);
  });

  test('of one in which a statement failed nothing is written, though the work went on', async () => {
    const work = async (tx: Db) => {
      await add(tx, { id: 22, order: 2, price: 1 });
      await tx.run(addItem, { id: 22, order: 2, price: 1 }, inTime()).catch(() => {});
      await assert.rejects(tx.run(itemIds, { order: 2 }, inTime()), { sqlState: '23505' });
    };
    await assert.rejects(db.transaction(work, inTime()), { failure: 'failed', sqlState: '23505' });
    const unawaited = async (tx: Db) => {
      void tx.run(addItem, { id: 23, order: 2, price: 1 }, inTime());
      tx.run(fail('40001'), {}, inTime()).catch(() => {});
    };
    await assert.rejects(db.transaction(unawaited, inTime()), { failure: 'unavailable', sqlState: '40001' });
    assert.deepEqual(await idsOf(db, 2), []);
  });

  test('of one whose caller goes while the work is at something else nothing is written', async () => {
    const controller = new AbortController();
    let late: Promise<unknown> | undefined;
    const work = async (tx: Db) => {
      await add(tx, { id: 24, order: 2, price: 1 });
      controller.abort(new Error('the deadline'));
      const { promise, resolve } = Promise.withResolvers<void>();
      late = promise.then(() => tx.run(addItem, { id: 25, order: 2, price: 1 }, inTime()));
      over.finally(resolve);
      await late;
    };
    const over = assert.rejects(
      Promise.resolve().then(() => db.transaction(work, controller.signal)),
      { failure: 'canceled' },
    );
    await over;
    await assert.rejects(late as Promise<unknown>, { failure: 'failed', message: 'the transaction is over' });
    assert.deepEqual(await idsOf(db, 2), []);
  });

  test('of one with a statement whose own time was over nothing is written', async () => {
    const work = async (tx: Db) => {
      await add(tx, { id: 26, order: 2, price: 1 });
      await tx.run(itemIds, { order: 2 }, AbortSignal.abort()).catch(() => {});
    };
    await assert.rejects(db.transaction(work, inTime()), { failure: 'canceled' });
    assert.deepEqual(await idsOf(db, 2), []);
  });
});

describe('a batch costs one round trip', () => {
  const three = [11, 12, 13].map((id) => bind(addItem, { id, order: 1, price: 1 }));

  test('on node-postgres', async (t) => {
    const { url } = await ownDatabase(t);
    const proxy = await startCountingProxy(url);
    t.after(proxy.close);
    const open = openPostgres({ url: proxy.url, poolMax: 2, statementTimeoutMs: 5000, log: silent });
    t.after(open.close);
    await makeTables(open.db);
    const before = proxy.counts();
    await open.db.batch(three, inTime());
    const { statements, roundTrips } = proxy.counts();
    assert.deepEqual([statements - before.statements, roundTrips - before.roundTrips], [3, 1]);
  });

  test("over Neon's protocol", async (t) => {
    const { db, endpoint } = await openWithNeon(t);
    await makeTables(db);
    const before = endpoint.requests();
    await db.batch(three, inTime());
    assert.equal(endpoint.requests() - before, 1);
  });
});

describe('canceled mid-way, nothing is written', { timeout: 60_000 }, () => {
  const work = [bind(addItem, { id: 11, order: 1, price: 1 }), bind(waitForLock, {})] as const;

  for (const [way, begin] of Object.entries({
    'a batch': (db: SessionDb, signal: AbortSignal) => db.batch(work, signal),
    'a transaction': (db: SessionDb, signal: AbortSignal) => db.transaction((tx) => tx.batch(work, inTime()), signal),
  })) {
    test(`${way} on node-postgres, and others go on`, async (t) => {
      const { db, proxy, database } = await openProxied(t);
      await makeTables(db);
      await holdLock(t, database.url, LOCK);
      const controller = new AbortController();
      const run = begin(db, controller.signal);
      await blocked(database.name);
      controller.abort();
      await assert.rejects(run, { failure: 'canceled' });
      await proxy.until(() => proxy.open() === 0);
      assert.deepEqual(await idsOf(db, 1), []);
    });
  }

  test("a batch over Neon's protocol, though only a later look can tell", async (t) => {
    const { db, database } = await openWithNeon(t);
    await makeTables(db);
    const release = await holdLock(t, database.url, LOCK);
    const controller = new AbortController();
    const run = db.batch(work, controller.signal);
    await blocked(database.name);
    controller.abort();
    await assert.rejects(run, { failure: 'unknown' });
    while ((await query(database.name, BLOCKED)).length > 0);
    await release();
    assert.deepEqual(await idsOf(db, 1), []);
  });
});

describe('the connection is lost', { timeout: 60_000 }, () => {
  const item = bind(addItem, { id: 11, order: 1, price: 1 });
  const committed = async (name: string) => (await query(name, 'select from items')).length > 0;

  test('before the commit was sent: a transaction is unavailable, and nothing was written', async (t) => {
    const { db, proxy, database } = await openProxied(t);
    await makeTables(db);
    const work = async (tx: Db) => {
      await tx.batch([item], inTime());
      proxy.cut();
      await tx.run(itemIds, { order: 1 }, inTime());
    };
    await assert.rejects(db.transaction(work, inTime()), { failure: 'unavailable' });
    assert.equal(await committed(database.name), false);
    await idsOf(db, 1);
  });

  test('a transaction that is left open gives up its locks, whatever becomes of its process', async (t) => {
    const { db, proxy, database } = await openProxied(t, { statementTimeoutMs: 2000 });
    await makeTables(db);
    const work = async (tx: Db) => {
      await tx.batch([item], inTime());
      await proxy.until(() => proxy.open() === 0);
      await tx.run(itemIds, { order: 1 }, inTime());
    };
    await assert.rejects(db.transaction(work, inTime()), { failure: 'unavailable' });
    assert.equal(await committed(database.name), false);
  });

  for (const [way, begin] of Object.entries({
    'a batch': (db: SessionDb, beforeCommit: () => void) => {
      beforeCommit();
      return db.batch([item, bind(sumUp, { order: 1 })], inTime());
    },
    'a transaction': (db: SessionDb, beforeCommit: () => void) =>
      db.transaction(async (tx) => {
        await tx.batch([item], inTime());
        beforeCommit();
      }, inTime()),
  })) {
    test(`before the answer to the commit: nobody knows what became of ${way} on node-postgres`, async (t) => {
      const { db, proxy, database } = await openProxied(t);
      await makeTables(db);
      const run = assert.rejects(
        begin(db, () => proxy.holdBack('server')),
        { failure: 'unknown' },
      );
      while (!(await committed(database.name)));
      proxy.cut();
      await run;
    });
  }

  test("before the answer to the commit: nobody knows what became of a batch over Neon's protocol", async (t) => {
    const { url, database, endpoint } = await openWithNeon(t);
    const proxy = await startProxy(endpoint.url);
    t.after(proxy.close);
    const { db } = openNeon({ url, fetchEndpoint: new URL('/sql', proxy.url).href });
    await makeTables(db);
    proxy.holdBack('server');
    const run = assert.rejects(db.batch([item], inTime()), { failure: 'unknown' });
    while (!(await committed(database.name)));
    proxy.cut();
    await run;
  });

  test('a commit that PGlite could not put on disk: nobody knows what became of it', async (t) => {
    const { db, close } = await openTestPglite();
    t.after(close);
    await makeTables(db);
    const original = PGlite.prototype.query;
    t.mock.method(PGlite.prototype, 'query', async function (this: PGlite, ...args: [string]) {
      const result = await original.apply(this, args);
      if (args[0] === 'commit') throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
      return result;
    });
    await assert.rejects(db.batch([item], inTime()), { failure: 'unknown' });
  });
});

test('on PGlite a statement that waits behind a transaction steps back when its time is over', async (t) => {
  const { db, close } = await openTestPglite();
  t.after(close);
  await makeTables(db);
  const waits = new AbortController();
  await db.transaction(async () => {
    const outside = db.run(itemIds, { order: 1 }, waits.signal);
    waits.abort();
    await assert.rejects(outside, DbError);
  }, inTime());
  assert.deepEqual(await idsOf(db, 1), []);
});

const BLOCKED = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;

async function blocked(name: string): Promise<void> {
  while ((await query(name, BLOCKED)).length === 0);
}

/** Opens Neon's driver on the test's own database. */
async function openWithNeon(t: TestContext) {
  const database = await ownDatabase(t);
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  t.after(() => endpoint.close());
  const { db } = openNeon({ url: database.url, fetchEndpoint: endpoint.url });
  return { db, database, endpoint, url: database.url };
}
