// Through PgBouncer, where it is installed: sessions of one client each.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { DbError, statement } from '../../src/db.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { holdLock, ownDatabase, untilBlocked } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { noPgbouncer, startPgbouncer } from '../support/pgbouncer.ts';
import { query } from '../support/postgres-server.ts';

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
  await assert.rejects(late, (error) => error instanceof DbError && error.sqlState === '57014');
  await Promise.all(behind);
  assert.deepEqual(await written(), [1, 2, 3]);
});
