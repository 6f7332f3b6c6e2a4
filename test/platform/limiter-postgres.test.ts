import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'drizzle-orm';
import { type Db, statement } from '../../src/db.ts';
import { postgresLimiter } from '../../src/platform/limiter-postgres.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { inTime, noDb, recordingLog, silent } from '../support/deps.ts';

const rows = statement<Record<never, never>, { key: string; count: number }>(
  'test.rate_limits',
  () => sql`select key, count from rate_limits order by key`,
);
const clear = statement<Record<never, never>, never>('test.clear', () => sql`delete from rate_limits`);
/** As if that much time had passed. */
const pass = statement<{ seconds: number }, never>(
  'test.pass',
  ($) => sql`update rate_limits set ends_at = ends_at - ${$.seconds}::int * interval '1 second'`,
);
const fill = statement<{ count: number }, never>(
  'test.fill',
  ($) => sql`
    insert into rate_limits select 'old-' || n, 1, now() - interval '1 second' from generate_series(1, ${$.count}::int) n`,
);

/** Simulates a separate process; counts the statements it sent, and keeps the last two. */
function newProcess(db: Db, limit = 3) {
  const state = { statements: 0, clock: 0, last: [] as Promise<unknown>[] };
  const counting: Db = {
    ...db,
    run: (...args) => {
      state.statements++;
      const result = db.run(...args);
      state.last = [...state.last.slice(-1), result];
      return result;
    },
  };
  const options = { db: counting, log: silent, limit, windowS: 60, timeoutMs: 30_000, now: () => state.clock };
  const limiter = postgresLimiter(options);
  return { ...limiter, state };
}

onEveryDatabase('rate limits in the database', (db) => {
  test('processes that share a database count together, and every key by itself', async () => {
    await db.run(clear, {}, inTime());
    const [one, two] = [newProcess(db), newProcess(db)];
    assert.deepEqual([one.limit, one.window], [3, 60]);
    const taken = [await one.take('a'), await two.take('a'), await one.take('a')];
    assert.deepEqual(
      taken.map(({ allowed, remaining }) => [allowed, remaining]),
      [
        [true, 2],
        [true, 1],
        [true, 0],
      ],
    );
    for (const limiter of [two, one]) {
      const { allowed, remaining, resetS } = await limiter.take('a');
      assert.deepEqual([allowed, remaining], [false, 0]);
      assert.ok(resetS !== undefined && resetS > 0 && resetS <= 60);
    }
    assert.equal((await two.take('b')).remaining, 2);
  });

  test('when a window ends the key has its whole quota again', async () => {
    await db.run(clear, {}, inTime());
    const one = newProcess(db);
    for (let n = 0; n < 4; n++) await one.take('a');
    await db.run(pass, { seconds: 60 }, inTime());
    one.state.clock += 60_000;
    const { allowed, remaining, resetS } = await one.take('a');
    assert.deepEqual([allowed, remaining], [true, 2]);
    assert.ok(resetS !== undefined && resetS > 59);
  });

  test('of 50 requests at once through two processes exactly the quota passes', async () => {
    await db.run(clear, {}, inTime());
    const both = [newProcess(db, 20), newProcess(db, 20)];
    const all = await Promise.all(Array.from({ length: 50 }, (_, n) => both[n % 2]?.take('a')));
    const passed = all.filter((quota) => quota?.allowed);
    assert.deepEqual(
      passed.map((quota) => quota?.remaining).sort((a, b) => Number(a) - Number(b)),
      Array.from({ length: 20 }, (_, n) => n),
    );
  });

  test('a request costs one statement; a key once refused costs none', async () => {
    await db.run(clear, {}, inTime());
    const one = newProcess(db, 1);
    await one.take('first, with its look for old rows');
    const before = one.state.statements;
    await one.take('a');
    await one.take('a');
    assert.equal(one.state.statements - before, 2);
    for (let n = 0; n < 100; n++) assert.equal((await one.take('a')).allowed, false);
    assert.equal(one.state.statements - before, 2);
  });

  test('windows that have ended are deleted as new ones come, and keys are kept unreadable', async () => {
    await db.run(clear, {}, inTime());
    await db.run(fill, { count: 1500 }, inTime());
    const one = newProcess(db, 10_000);
    for (let n = 0; n < 501; n++) await one.take(`address:192.0.2.${n % 2}`);
    await Promise.all(one.state.last);
    const left = await db.run(rows, {}, inTime());
    assert.deepEqual(left.map(({ count }) => count).sort(), [250, 251]);
    for (const { key } of left) assert.match(key, /^[\w-]{43}$/);
  });

  test('a key may be of any length and hold anything', async () => {
    await db.run(clear, {}, inTime());
    const one = newProcess(db, 1);
    for (const key of ['x'.repeat(100_000), 'a\u0000b', '', "'; drop table rate_limits; --"]) {
      assert.equal((await one.take(key)).allowed, true);
      assert.equal((await one.take(key)).allowed, false);
    }
  });
});

test('100,000 other keys do not free a used-up one: what this process has forgotten the database has not', async () => {
  const counts = new Map<string, number>();
  const db: Db = {
    ...noDb,
    run: async ({ name }, values) => {
      if (name !== 'rate_limits.take') return [];
      const { key } = values as { key: string };
      counts.set(key, (counts.get(key) ?? 0) + 1);
      return [{ count: counts.get(key), resetS: 60 }] as never[];
    },
  };
  const one = newProcess(db, 1);
  for (let n = 0; n < 2; n++) await one.take('sub:used-up');
  for (let n = 0; n < 100_000; n++) await one.take(`sub:${n >> 1}`);
  assert.equal((await one.take('sub:used-up')).allowed, false);
});

test('while the database is away a process counts by itself, with a line in the log', async () => {
  const log = recordingLog();
  const limiter = postgresLimiter({ db: noDb, log, limit: 2, windowS: 60 });
  const taken = [await limiter.take('a'), await limiter.take('a'), await limiter.take('a')];
  assert.deepEqual(
    taken.map(({ allowed }) => allowed),
    [true, true, false],
  );
  assert.ok(log.lines.every(({ level, msg }) => level === 'error' && msg === 'rate limit not counted'));
  assert.ok(log.lines.length >= 3);
});

test('while the database is away, addresses without a good token do not take the quota of a subject', async () => {
  const limiter = postgresLimiter({ db: noDb, log: silent, limit: 1, windowS: 600 });
  for (let n = 0; n < 200_000; n++) await limiter.take(`address:${n}`);
  for (let n = 0; n < 20; n++) assert.equal((await limiter.take(`sub:${n}`)).allowed, true);
});
