// What statements that share a connection can rely on, on a real Postgres behind a network that can be tampered with.
import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { type Db, DbError, type Sharing, statement } from '../../src/db.ts';
import { MAX_WAITING } from '../../src/platform/shared-connections.ts';
import { holdLock, openProxied } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';

type Nothing = Record<never, never>;
type Backend = { pid: number };

const read = statement<Nothing, Backend>('test.read', () => sql`select pg_backend_pid() as pid`, 'reads');
const alone = statement<Nothing, Backend>('test.alone', () => sql`select pg_backend_pid() as pid`);
const forget = statement<Nothing, unknown>('test.forget', () => sql`deallocate all`);

const insert = statement<{ n: number }, Backend>(
  'test.insert',
  ($) => sql`insert into written values (${$.n}::int) returning pg_backend_pid() as pid`,
  'inserts',
);

/** A statement that takes longer than any test, and waits for no lock. */
const sleeps = statement<{ n: number }, Backend>(
  'test.sleeps',
  ($) => sql`insert into written select ${$.n}::int from pg_sleep(600) returning pg_backend_pid() as pid`,
  'inserts',
);

/** A statement that waits until nobody holds the lock, and then inserts its number. */
const waitsIn = (shares: Sharing) =>
  statement<{ lock: number; n: number }, Backend>(
    `test.waits.${shares}`,
    ($) => sql`
      with free as materialized (select pg_advisory_xact_lock_shared(${$.lock}::int)),
      done as (insert into written select ${$.n}::int from free returning n)
      select pg_backend_pid() as pid from done`,
    shares,
  );
const waits = waitsIn('inserts');
const waitsAsRead = waitsIn('reads');

const long = () => AbortSignal.timeout(60_000);
const failsAs = (run: Promise<unknown>, failure: string) =>
  assert.rejects(run, (error) => error instanceof DbError && error.failure === failure);

async function setUp(t: TestContext, poolMax = 10) {
  const proxied = await openProxied(t, { poolMax, statementTimeoutMs: 60_000 });
  const { database } = proxied;
  await query(database.name, 'create table written (n int unique)');
  return {
    ...proxied,
    /** Holds the lock, and returns how to release it. */
    hold: (lock: number) => holdLock(t, database.url, lock),
    /** The backends that wait for a lock or sleep, once there are `n` or more. */
    blocked: async (n = 1) => {
      const text = `select pid from pg_stat_activity
                    where datname = current_database() and application_name = 'keelson'
                      and (wait_event_type = 'Lock' or wait_event = 'PgSleep')`;
      for (;;) {
        const rows = await query(database.name, text);
        if (rows.length >= n) return rows.map(({ pid }) => Number(pid));
      }
    },
    connected: async () =>
      (await query(database.name, 'select pid from pg_stat_activity')).map(({ pid }) => Number(pid)),
    written: async () => (await query(database.name, 'select n from written order by n')).map(({ n }) => Number(n)),
    terminate: (pid: number) => query(database.name, `select pg_terminate_backend(${pid})`),
  };
}

const many = <T>(n: number, make: (i: number) => T) => Array.from({ length: n }, (_, i) => make(i));
const pidOf = async (run: Promise<Backend[]>) => (await run)[0]?.pid;

/** The types of the protocol messages in `bytes`: a letter, then the length of the rest, for each. */
function messageTypes(bytes: Buffer): string[] {
  const types: string[] = [];
  for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1))
    types.push(bytes.toString('latin1', at, at + 1));
  return types;
}

/** Sends reads until one is answered: early ones may be queued behind a slow statement. */
async function untilAnswered(db: Db): Promise<void> {
  let answered = false;
  while (!answered) {
    void db.run(read, {}, long()).then(
      () => {
        answered = true;
      },
      () => {},
    );
    await new Promise(setImmediate);
  }
}

describe('what it costs', { timeout: 60_000 }, () => {
  test('fifty reads at once take one connection, and one write to it', async (t) => {
    const { db, proxy } = await setUp(t);
    await db.run(read, {}, long());
    // Statements that wait behind one that is slow use other connections: in this test no time passes.
    const now = performance.now();
    t.mock.method(performance, 'now', () => now);
    const writes = t.mock.method(Socket.prototype, 'write');
    const pids = await Promise.all(many(50, () => pidOf(db.run(read, {}, long()))));
    const ours = writes.mock.calls.filter(
      (call) => (call.this as Socket).remotePort === Number(new URL(proxy.url).port),
    );
    assert.equal(new Set(pids).size, 1);
    assert.equal(ours.length, 1);
    assert.equal(proxy.accepted(), 1);
  });

  test('sixteen inserts at once are one transaction, and one write to its connection', async (t) => {
    const { db, proxy, written } = await setUp(t);
    await db.run(insert, { n: 0 }, long());
    const writes = t.mock.method(Socket.prototype, 'write');
    await Promise.all(many(16, (i) => db.run(insert, { n: i + 1 }, long())));
    // On a busy machine a statement may take 50 ms, so that more writes follow.
    const first = writes.mock.calls.find(
      (call) => (call.this as Socket).remotePort === Number(new URL(proxy.url).port),
    );
    const types = messageTypes(first?.arguments[0] as Buffer);
    assert.equal(types.filter((type) => type === 'E').length, 1 + 16, 'executed: the time limit and the inserts');
    assert.equal(types.filter((type) => type === 'S').length, 1, 'a Sync, which commits');
    assert.equal((await written()).length, 17);
  });

  test('the connection is anybody else’s as soon as nothing is under way on it', async (t) => {
    const { db, proxy, stats } = await setUp(t, 1);
    const pids = [await pidOf(db.run(read, {}, long())), await pidOf(db.run(alone, {}, long()))];
    assert.equal(pids[0], pids[1]);
    assert.deepEqual(stats(), { total: 1, idle: 1, waiting: 0 });
    assert.equal(proxy.accepted(), 1);
  });
});

describe('an error', { timeout: 60_000 }, () => {
  test('is its own: those before and after it on the same connection are committed', async (t) => {
    const { db, written } = await setUp(t);
    const results = await Promise.allSettled([1, 2, 2, 3].map((n) => db.run(insert, { n }, long())));
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    );
    const { reason } = results[2] as PromiseRejectedResult;
    assert.equal(reason.sqlState, '23505');
    assert.deepEqual(await written(), [1, 2, 3]);
  });

  test('that another statement of the same transaction caused is told only if it remains without that', async (t) => {
    const { db, written, blocked } = await setUp(t);
    await db.run(insert, { n: 0 }, long());
    const deadline = new AbortController();
    const first = db.run(insert, { n: 1 }, deadline.signal);
    const slow = db.run(sleeps, { n: 2 }, deadline.signal);
    // It would collide with the first, which is never written.
    const second = db.run(insert, { n: 1 }, long());
    await blocked();
    deadline.abort();
    const [told, { status }] = await Promise.allSettled([first, second, slow]);
    assert.notEqual(told.status, status, 'one of them is written');
    assert.deepEqual(await written(), [0, 1]);
  });

  test('that the commit finds is told to whom it concerns', async (t) => {
    const { db, database, written } = await setUp(t);
    await query(database.name, 'alter table written drop constraint written_n_key');
    await query(database.name, 'alter table written add unique (n) deferrable initially deferred');
    await db.run(insert, { n: 0 }, long());
    const results = await Promise.allSettled([1, 2, 2, 3].map((n) => db.run(insert, { n }, long())));
    const reasons = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason.sqlState);
    assert.deepEqual(reasons, ['23505']);
    assert.deepEqual(await written(), [0, 1, 2, 3]);
  });

  test('of a session that forgot what was prepared is nobody’s: it is prepared again', async (t) => {
    const { db } = await setUp(t, 1);
    await db.run(read, {}, long());
    await db.run(forget, {}, long());
    const pids = await Promise.all(many(5, () => pidOf(db.run(read, {}, long()))));
    assert.equal(new Set(pids).size, 1);
  });

  test('of a session that forgot what was prepared costs inserts that share a transaction nothing', async (t) => {
    const { db, written } = await setUp(t, 1);
    await db.run(insert, { n: 0 }, long());
    await db.run(forget, {}, long());
    await Promise.all(many(5, (i) => db.run(insert, { n: i + 1 }, long())));
    assert.deepEqual(await written(), [0, 1, 2, 3, 4, 5]);
  });
});

describe('a slow statement', { timeout: 60_000 }, () => {
  test('holds up none that come after it, and none of another kind', async (t) => {
    const { db, hold, blocked, written } = await setUp(t);
    const release = await hold(1);
    const slow = db.run(waits, { lock: 1, n: 1 }, long());
    await blocked();
    await db.run(read, {}, long());
    let next = 2;
    let answered = false;
    const behind: Promise<unknown>[] = [];
    while (!answered) {
      behind.push(
        db.run(insert, { n: next++ }, long()).then(() => {
          answered = true;
        }),
      );
      await new Promise(setImmediate);
    }
    assert.ok(!(await written()).includes(1), 'it is still at work');
    await release();
    await Promise.all([slow, ...behind]);
    assert.equal((await written()).length, next - 1, 'all of them, each once');
  });

  for (const [what, slow] of Object.entries({ 'waits for a lock': waits, 'takes long': sleeps })) {
    test(`that ${what} holds up none that were sent with it`, async (t) => {
      const { db, hold, written } = await setUp(t);
      await hold(1);
      const deadline = new AbortController();
      const late = db.run(slow, { lock: 1, n: 1 }, deadline.signal);
      await Promise.all(many(5, (i) => db.run(insert, { n: i + 2 }, long())));
      deadline.abort();
      await failsAs(late, 'canceled');
      assert.deepEqual(await written(), [2, 3, 4, 5, 6]);
    });
  }

  test('of which there are several holds up none that were sent with them or after them', async (t) => {
    const { db, written } = await setUp(t);
    await db.run(insert, { n: 0 }, long());
    const deadline = new AbortController();
    const slow = [101, 102, 103].map((n) => db.run(sleeps, { n }, deadline.signal));
    const others = many(13, (i) => db.run(insert, { n: i + 1 }, long()));
    await others[12];
    await Promise.all(many(20, (i) => db.run(insert, { n: i + 14 }, long())));
    await Promise.all(others);
    deadline.abort();
    await Promise.all(slow.map((run) => failsAs(run, 'canceled')));
    assert.equal((await written()).length, 34);
  });

  test('that waits for one sent with another keeps neither: they are told of their own outcomes', async (t) => {
    const { db, written } = await setUp(t);
    // Transactions that insert the same numbers in opposite order wait for each other.
    const up = many(16, (n) => n);
    const runs = [...up, ...up.toReversed(), ...up].map((n) => db.run(insert, { n }, long()));
    const results = await Promise.allSettled(runs);
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 16);
    for (const result of results) if (result.status === 'rejected') assert.equal(result.reason.sqlState, '23505');
    assert.deepEqual(await written(), up);
  });

  test('of a read holds up no read that comes after it', async (t) => {
    const { db, hold, blocked } = await setUp(t);
    const release = await hold(1);
    const slow = db.run(waitsAsRead, { lock: 1, n: 1 }, long());
    await blocked();
    await untilAnswered(db);
    await release();
    await slow;
  });

  test('leaves one connection of a small pool to whoever needs one of its own', async (t) => {
    const { db } = await setUp(t, 1);
    let busy = true;
    const keepBusy = async () => {
      while (busy) await db.run(read, {}, long());
    };
    const readers = many(20, keepBusy);
    for (let i = 0; i < 5; i++) await db.run(alone, {}, long());
    busy = false;
    await Promise.all(readers);
  });
});

describe('a deadline', { timeout: 60_000 }, () => {
  test('cancels its own statement on the server, and those sent with it are done', async (t) => {
    const { db, hold, blocked, written, connected } = await setUp(t);
    await hold(1);
    const deadline = new AbortController();
    const late = db.run(waits, { lock: 1, n: 1 }, deadline.signal);
    const others = many(3, (i) => db.run(insert, { n: i + 2 }, long()));
    await Promise.all(others);
    const [backend] = await blocked();
    deadline.abort();
    await failsAs(late, 'canceled');
    assert.deepEqual(await written(), [2, 3, 4]);
    while ((await connected()).includes(backend as number));
  });

  test('of a statement that waits to be sent sends it never', async (t) => {
    const { db, hold, blocked, written } = await setUp(t, 1);
    const release = await hold(1);
    const slow = many(4, (i) => db.run(waits, { lock: 1, n: i }, long()));
    await blocked();
    const deadline = new AbortController();
    const late = db.run(insert, { n: 99 }, deadline.signal);
    deadline.abort();
    await failsAs(late, 'canceled');
    await release();
    await Promise.all(slow);
    assert.ok(!(await written()).includes(99));
  });

  test('that passes while another of the same transaction is slow is its own', async (t) => {
    const { db, hold, blocked, written } = await setUp(t);
    const release = await hold(1);
    const deadline = new AbortController();
    const late = db.run(insert, { n: 1 }, deadline.signal);
    const slow = db.run(waits, { lock: 1, n: 2 }, long());
    await blocked();
    deadline.abort();
    const [{ status }] = await Promise.allSettled([late]);
    await release();
    await slow;
    assert.deepEqual(await written(), status === 'fulfilled' ? [1, 2] : [2]);
  });

  test('whose cancellation comes late answers what was just committed', async (t) => {
    const { db, proxy, hold, blocked, written } = await setUp(t);
    const release = await hold(1);
    const deadline = new AbortController();
    const late = db.run(waits, { lock: 1, n: 1 }, deadline.signal);
    const [backend] = await blocked();
    proxy.holdNew(true);
    deadline.abort();
    await proxy.until(() => proxy.accepted() === 2);
    await release();
    assert.equal(await pidOf(late), backend, 'done, and answered so');
    assert.deepEqual(await written(), [1]);
  });

  test('whose cancellation comes late costs the next statement nothing', async (t) => {
    const { db, proxy, hold, blocked } = await setUp(t);
    const release = await hold(1);
    const releaseSecond = await hold(2);
    const deadline = new AbortController();
    const first = db.run(waitsAsRead, { lock: 1, n: 1 }, deadline.signal);
    const second = db.run(waitsAsRead, { lock: 2, n: 2 }, long());
    const [backend] = await blocked();
    proxy.holdNew(true);
    deadline.abort();
    await failsAs(first, 'canceled');
    await proxy.until(() => proxy.accepted() === 2);
    await release();
    await blocked();
    proxy.holdNew(false);
    // The cancellation hits the second, which is sent once more on another connection.
    while ((await blocked())[0] === backend);
    await releaseSecond();
    assert.notEqual(await pidOf(second), backend);
  });

  test('of a read is told at once, wherever the read is', async (t) => {
    const { db, hold, blocked } = await setUp(t);
    const release = await hold(1);
    const slow = db.run(waitsAsRead, { lock: 1, n: 1 }, long());
    const deadline = new AbortController();
    const late = db.run(read, {}, deadline.signal);
    await blocked();
    deadline.abort();
    await failsAs(late, 'canceled');
    await release();
    await slow;
  });
});

describe('a connection that is lost', { timeout: 60_000 }, () => {
  test('without a word leaves writes unknown and reads unavailable, and concerns only what was on it', async (t) => {
    const { db, proxy, hold, blocked } = await setUp(t);
    const release = await hold(1);
    const writes = many(4, (n) => db.run(sleeps, { n }, long()));
    const reads = many(2, (n) => db.run(waitsAsRead, { lock: 1, n: 10 + n }, long()));
    // Each write has a connection of its own by then, as all are slow.
    await blocked(5);
    const other = db.run(alone, {}, long());
    await other;
    const failures = [
      ...writes.map((run) => failsAs(run, 'unknown')),
      ...reads.map((run) => failsAs(run, 'unavailable')),
    ];
    proxy.cut();
    await Promise.all(failures);
    await release();
    await db.run(insert, { n: 100 }, long());
  });

  test('with the server’s word leaves nothing unknown: none of what it had not answered was written', async (t) => {
    const { db, blocked, written, terminate } = await setUp(t);
    const writes = many(4, (n) => db.run(sleeps, { n }, long()));
    const failures = writes.map((run) => failsAs(run, 'unavailable'));
    for (const backend of await blocked(4)) await terminate(backend);
    await Promise.all(failures);
    assert.deepEqual(await written(), []);
  });

  test('with the server’s word takes no more: what waited goes elsewhere', async (t) => {
    const { db, blocked, written, terminate } = await setUp(t, 1);
    await db.run(insert, { n: 0 }, long());
    const first = failsAs(db.run(sleeps, { n: 1 }, long()), 'unavailable');
    const [backend] = await blocked();
    const waiting = many(3, (i) => db.run(insert, { n: i + 2 }, long()));
    await new Promise(setImmediate);
    await terminate(backend as number);
    await first;
    await Promise.all(waiting);
    assert.deepEqual(await written(), [0, 2, 3, 4]);
  });

  test('after a commit whose answer is lost leaves each of the transaction unknown', async (t) => {
    const { db, proxy, written } = await setUp(t);
    await db.run(insert, { n: 0 }, long());
    proxy.holdBack('server');
    const failures = many(5, (i) => failsAs(db.run(insert, { n: i + 1 }, long()), 'unknown'));
    while ((await written()).length < 6);
    proxy.cut();
    await Promise.all(failures);
    assert.deepEqual(await written(), [0, 1, 2, 3, 4, 5]);
  });

  test('that keeps silent is given up a second after the deadline of the statement that the server is at', async (t) => {
    const { db, proxy } = await setUp(t);
    await db.run(insert, { n: 1 }, long());
    proxy.goDead();
    await failsAs(db.run(insert, { n: 2 }, AbortSignal.timeout(50)), 'unknown');
    await db.run(insert, { n: 3 }, long());
    await proxy.until(() => proxy.open() === 1);
  });
});

test('memory is bounded while the database is slower than its callers: what is too much fails at once', async (t) => {
  const { db, hold, blocked, written } = await setUp(t);
  const release = await hold(1);
  const deadline = new AbortController();
  const ended: string[] = [];
  const runs = many(3 * MAX_WAITING, (n) =>
    db.run(waits, { lock: 1, n }, deadline.signal).then(
      () => ended.push('done'),
      ({ failure }) => ended.push(failure),
    ),
  );
  await blocked();
  assert.equal(ended.filter((how) => how === 'unavailable').length, 2 * MAX_WAITING);
  await release();
  await Promise.all(runs);
  assert.equal((await written()).length, ended.filter((how) => how === 'done').length);
  assert.equal(ended.filter((how) => how === 'done').length, MAX_WAITING);
});

test('closing waits for what is under way, and for what waits', { timeout: 60_000 }, async (t) => {
  const { db, hold, blocked, close, written } = await setUp(t);
  const release = await hold(1);
  const runs = many(40, (n) => db.run(waits, { lock: 1, n }, long()));
  // All connections of the pool, so that one more is waited for.
  await blocked(10);
  const closed = close();
  await release();
  await Promise.all([closed, ...runs]);
  assert.equal((await written()).length, 40);
});
