// Through PgBouncer, where it is installed: sessions of one client each.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { sql } from 'drizzle-orm';
import pg from 'pg';
import { DbError, statement } from '../../src/db.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { migratePostgres } from '../../src/platform/migrate.ts';
import { allMigrations } from '../../src/platform/pending-migrations.ts';
import { holdLock, openProxied, ownDatabase, untilBlocked } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { noPgbouncer, startPgbouncer } from '../support/pgbouncer.ts';
import { query } from '../support/postgres-server.ts';
import { spawnService } from '../support/service.ts';

const LOCK = 4712;
const long = () => AbortSignal.timeout(60_000);

const insert = statement<{ n: number }, unknown>(
  'test.insert',
  ($) => sql`insert into written values (${$.n}::int)`,
  'inserts',
);
const waits = statement<{ n: number }, unknown>(
  'test.waits',
  ($) => sql`
    with free as materialized (select pg_advisory_xact_lock_shared(${sql.raw(String(LOCK))}))
    insert into written select ${$.n}::int from free`,
  'inserts',
);

async function setUp(t: TestContext) {
  const database = await ownDatabase(t);
  await query(database.name, 'create table written (n int unique)');
  const pooler = await startPgbouncer(database.url, 'session');
  t.after(() => pooler.stop());
  const { db, close } = openPostgres({ url: pooler.url, poolMax: 5, statementTimeoutMs: 60_000, log: silent });
  t.after(close);
  await holdLock(t, database.url, LOCK);
  const written = async () =>
    (await query(database.name, 'select n from written order by n')).map(({ n }) => Number(n));
  return { db, name: database.name, written };
}

test('statements share connections through it, and a deadline cancels its own alone', {
  skip: noPgbouncer,
}, async (t) => {
  const { db, name, written } = await setUp(t);
  const deadline = new AbortController();
  const late = db.run(waits, { n: 0 }, deadline.signal);
  const behind = [1, 2, 3].map((n) => db.run(insert, { n }, long()));
  await untilBlocked(name, late);
  deadline.abort();
  await assert.rejects(late, (error) => error instanceof DbError && error.failure === 'canceled');
  await Promise.all(behind);
  assert.deepEqual(await written(), [1, 2, 3]);
});

const skip = noPgbouncer;

async function pooled(t: TestContext, mode: 'session' | 'transaction', poolSize?: number) {
  const database = await ownDatabase(t);
  const pooler = await startPgbouncer(database.url, mode, poolSize);
  t.after(() => pooler.stop());
  return { ...database, url: pooler.url };
}

function opened(t: TestContext, url: string) {
  const open = openPostgres({ url, poolMax: 5, statementTimeoutMs: 5000, log: silent });
  t.after(open.close);
  return open;
}

/** Repeats a check that may have run out of its two seconds. */
async function toldInTime(check: () => Promise<boolean> | undefined): Promise<boolean | undefined> {
  for (;;) {
    const asked = performance.now();
    const told = await check()?.catch(() => undefined);
    if (performance.now() - asked < 1900) return told;
  }
}

test('transaction mode is refused at a start, with what to set', { skip, timeout: 60_000 }, async (t) => {
  const { url } = await pooled(t, 'transaction');
  const service = spawnService({ DATABASE_URL: url });
  assert.equal(await service.exited, 1);
  const line = JSON.stringify(service.lines.find(({ msg }) => msg === 'cannot start'));
  assert.match(line, /transaction mode.*pool_mode = session.*port of Postgres itself/);
});

test('transaction mode is recognised however busy the pooler is', { skip, timeout: 60_000 }, async (t) => {
  const { url } = await pooled(t, 'transaction', 8);
  let busy = true;
  const others = Array.from({ length: 12 }, async () => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    while (busy) await client.query('select pg_sleep(random() * 0.005)');
    await client.end();
  });
  for (let n = 0; n < 20; n++) assert.equal(await toldInTime(() => opened(t, url).hasSessions?.()), false);
  busy = false;
  await Promise.all(others);
  for (let n = 0; n < 20; n++) assert.equal(await toldInTime(() => opened(t, url).hasSessions?.()), false);
});

test('session mode is not taken for it, with many connections or with one', { skip, timeout: 60_000 }, async (t) => {
  for (const poolSize of [50, 1]) {
    const { url } = await pooled(t, 'session', poolSize);
    assert.equal(await opened(t, url).hasSessions?.(), true);
  }
});

test('where there is no pooler, one connection tells', { timeout: 60_000 }, async (t) => {
  const { db, proxy, hasSessions } = await openProxied(t);
  assert.equal(await hasSessions?.(), true);
  await db.run(insert, { n: 1 }, long()).catch(() => {});
  assert.equal(proxy.accepted(), 1);
});

test('a network that goes silent after the log-in does not hold up a start', { timeout: 60_000 }, async (t) => {
  const { db, proxy, hasSessions } = await openProxied(t);
  await db.run(insert, { n: 1 }, long()).catch(() => {});
  proxy.goDead();
  await assert.rejects(
    hasSessions?.() ?? Promise.resolve(),
    (error) => error instanceof DbError && error.failure === 'unavailable',
  );
});

test('migrations take turns through it in transaction mode, and leave no lock behind', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const { name, url } = await pooled(t, 'transaction');
  await query(name, 'drop schema drizzle cascade');
  await query(name, 'drop schema public cascade');
  await query(name, 'create schema public');
  await Promise.all(Array.from({ length: 4 }, () => migratePostgres(url)));
  const [{ n } = {}] = await query(name, 'select count(*)::int as n from drizzle.__drizzle_migrations');
  assert.equal(n, allMigrations().length);
  assert.deepEqual(
    await query(
      name,
      "select 1 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
    ),
    [],
  );
});
