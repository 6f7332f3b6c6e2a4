import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import pg from 'pg';
import { postgresDoorbell } from '../../src/platform/doorbell-postgres.ts';
import { ownDatabase } from '../support/databases.ts';
import { recordingLog } from '../support/deps.ts';
import { query } from '../support/postgres-server.ts';
import { startProxy } from '../support/proxy.ts';
import { waiters } from '../support/until.ts';

/** The ids that were rung; undefined for a plain ring. */
type Rings = { heard: (string | undefined)[]; hear(id?: string): void; until(holds: () => boolean): Promise<unknown> };

function listenTo(): Rings {
  const heard: (string | undefined)[] = [];
  const { until, changed } = waiters();
  return {
    heard,
    hear(id) {
      heard.push(id);
      changed();
    },
    until,
  };
}

/** Creates a database, a proxy in front of it, and a doorbell that uses the proxy, and listens too if `listens`. */
async function setUp(t: TestContext, { listens }: { listens: boolean }) {
  const database = await ownDatabase(t);
  const proxy = await startProxy(database.url);
  t.after(() => proxy.close());
  const log = recordingLog();
  const rings = listenTo();
  const bell = postgresDoorbell(proxy.url, log, listens ? rings.hear : undefined);
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= bell.close();
    return closed;
  };
  t.after(close);
  const told = () => log.lines.map(({ level, msg }) => `${level} ${msg}`);
  return { database, proxy, log, told, rings, ring: bell.ring, close };
}

/** Returns what any listener on the database hears, as it arrives. */
async function outsider(t: TestContext, url: string): Promise<Rings> {
  const rings = listenTo();
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  client.on('notification', ({ payload }) => rings.hear(payload || undefined));
  await client.connect();
  t.after(() => client.end());
  await client.query('listen keelson_due');
  return rings;
}

const ringFromOutside = (database: string) => query(database, 'notify keelson_due');

test('rings soon after one go together: a hundred writes a second, or ten thousand, are as many', async (t) => {
  const { database, ring } = await setUp(t, { listens: false });
  const { heard, until } = await outsider(t, database.url);
  ring();
  await until(() => heard.length === 1);
  const began = performance.now();
  for (let i = 0; i < 500; i++) {
    ring();
    await new Promise(setImmediate);
  }
  ring('last');
  await until(() => heard.includes('last'));
  // Rings are ten milliseconds apart, however long this took; a timer may be early by one. The last batch rings twice.
  const most = 3 + (performance.now() - began) / 9;
  assert.ok(heard.length <= most, `${heard.length} rings heard, ${most} at most`);
});

describe('ringing', { timeout: 60_000, concurrency: true }, () => {
  test('a plain ring and each id arrive; many equal ones are few', async (t) => {
    const { ring, database, proxy } = await setUp(t, { listens: false });
    const rings = await outsider(t, database.url);
    for (let i = 0; i < 100; i++) ring();
    for (let i = 0; i < 100; i++) ring(`id ${i % 3}`);
    await rings.until(() => rings.heard.includes('id 2'));
    ring('last');
    await rings.until(() => rings.heard.includes('last'));
    // The first was sent alone, before there were others to send with it.
    assert.deepEqual(rings.heard.sort(), ['id 0', 'id 1', 'id 2', 'last', undefined, undefined]);
    assert.equal(proxy.accepted(), 1);
  });

  test('whoever listens hears a plain notify, and ids', async (t) => {
    const { rings, ring, database } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 2);
    ring('an id');
    await rings.until(() => rings.heard.length === 3);
    assert.deepEqual(rings.heard, [undefined, undefined, 'an id']);
  });

  test('after its connection died without a word, rings arrive all the same, together', async (t) => {
    const { ring, database, proxy, told } = await setUp(t, { listens: false });
    const rings = await outsider(t, database.url);
    ring('before');
    await rings.until(() => rings.heard.length === 1);
    proxy.goDead();
    ring('first');
    for (let i = 0; i < 10; i++) ring('second');
    for (let i = 0; i < 10; i++) ring();
    const different = () => [...new Set(rings.heard)];
    await rings.until(() => different().length === 4);
    assert.deepEqual(different().sort(), ['before', 'first', 'second', undefined]);
    // The answer to the one before may have been lost, too.
    assert.ok(rings.heard.length <= 5, rings.heard.join());
    await proxy.until(() => proxy.open() === 1);
    assert.equal(proxy.accepted(), 2);
    assert.deepEqual(told(), []);
  });

  test('where it cannot ring it says so once, and works again by itself', async (t) => {
    const { ring, database, proxy, told } = await setUp(t, { listens: false });
    const rings = await outsider(t, database.url);
    const forbid = (yes: boolean) => query('postgres', `alter database ${database.name} allow_connections ${!yes}`);
    ring('before');
    await rings.until(() => rings.heard.length === 1);
    await forbid(true);
    proxy.cut();
    // Each tries once more, or, the first, finds its connection gone: six connections are refused.
    for (let refused = 1; refused < 6; refused++) {
      ring('lost');
      await proxy.until(() => proxy.accepted() > refused && proxy.open() === 0);
    }
    await forbid(false);
    const again = setInterval(ring, 20, 'after');
    t.after(() => clearInterval(again));
    await rings.until(() => rings.heard.includes('after'));
    clearInterval(again);
    while (told().length < 2) await new Promise(setImmediate);
    assert.deepEqual(told(), ['warn NOTIFY connection lost', 'warn NOTIFY connection is back']);
  });
});

describe('listening', { timeout: 60_000, concurrency: true }, () => {
  test('a listener that has gone deaf without a word is replaced, rings for what it missed, and hears', async (t) => {
    const { rings, database, proxy, told } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    proxy.goDead();
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 2);
    assert.equal(proxy.accepted(), 2);
    assert.equal(proxy.open(), 1);
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 3);
    assert.deepEqual(told(), ['warn LISTEN connection lost', 'warn LISTEN connection is back']);
  });

  test('a listener that hears is kept, however often it is asked', async (t) => {
    const { rings, database, proxy, told } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    const asked = `select 1 from pg_stat_activity
                   where datname = current_database() and application_name = 'keelson-doorbell' and query = 'select 1'`;
    while ((await query(database.name, asked)).length === 0);
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 2);
    assert.equal(proxy.accepted(), 1);
    assert.deepEqual(told(), []);
  });

  test('a listener that is cut off is back at once', async (t) => {
    const { rings, database, proxy, told } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    proxy.cut();
    await rings.until(() => rings.heard.length === 2);
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 3);
    assert.deepEqual(told(), ['warn LISTEN connection lost', 'warn LISTEN connection is back']);
  });

  test('it goes on trying while new connections get no answer either, and says so once', async (t) => {
    const { rings, database, proxy, told } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    proxy.blackHole(true);
    proxy.goDead();
    await proxy.until(() => proxy.accepted() === 2);
    proxy.blackHole(false);
    await rings.until(() => rings.heard.length === 2);
    await ringFromOutside(database.name);
    await rings.until(() => rings.heard.length === 3);
    await proxy.until(() => proxy.open() === 1);
    assert.deepEqual(told(), ['warn LISTEN connection lost', 'warn LISTEN connection is back']);
  });
});

describe('closing', { timeout: 60_000, concurrency: true }, () => {
  test('sends the rings under way, and leaves nothing open', async (t) => {
    const { rings, ring, close, database, proxy } = await setUp(t, { listens: true });
    const heard = await outsider(t, database.url);
    await rings.until(() => rings.heard.length === 1);
    ring('first');
    ring('last');
    await close();
    await heard.until(() => heard.heard.includes('last'));
    await proxy.until(() => proxy.open() === 0);
  });

  test('ends though its connections are dead', async (t) => {
    const { rings, ring, close, proxy } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    ring('before');
    await rings.until(() => rings.heard.length === 2);
    proxy.goDead();
    proxy.blackHole(true);
    ring('lost');
    await close();
    await proxy.until(() => proxy.open() === 0);
  });

  test('ends though it is connecting, or waiting to', async (t) => {
    const { rings, close, proxy } = await setUp(t, { listens: true });
    await rings.until(() => rings.heard.length === 1);
    proxy.blackHole(true);
    proxy.cut();
    await proxy.until(() => proxy.accepted() === 2);
    await close();
    await proxy.until(() => proxy.open() === 0);
    assert.equal(proxy.accepted(), 2);
  });
});

test('every connection has the kernel ask whether the other side lives', { timeout: 60_000 }, async (t) => {
  const keepAlive = t.mock.method(Socket.prototype, 'setKeepAlive');
  const { rings, ring, proxy } = await setUp(t, { listens: true });
  await rings.until(() => rings.heard.length === 1);
  ring();
  await rings.until(() => rings.heard.length === 2);
  assert.equal(proxy.accepted(), 2, 'one to listen, one to ring');
  assert.deepEqual(
    keepAlive.mock.calls.map((call) => call.arguments),
    Array(2).fill([true, 10_000]),
  );
});
