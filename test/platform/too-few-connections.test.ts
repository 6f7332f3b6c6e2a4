// A Postgres that allows fewer connections than the pool would open.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { sql } from 'drizzle-orm';
import pg from 'pg';
import { statement } from '../../src/db.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { newEndpoint } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { ownDatabase } from '../support/databases.ts';
import { recordingLog } from '../support/deps.ts';
import { query } from '../support/postgres-server.ts';
import { spawnService } from '../support/service.ts';

const sleep = statement<object, unknown>('test.sleep', () => sql`select pg_sleep(0.02)`);
const HOOKS = '/webhook-endpoints';

/** Creates a database, and a role that may do everything there, over `limit` connections. */
async function withLimit(t: TestContext, limit: number) {
  const { name, url: own } = await ownDatabase(t);
  const role = `limited_${randomBytes(6).toString('hex')}`;
  await query(name, `create role ${role} login connection limit ${limit}`);
  t.after(() => query('postgres', `drop role ${role}`));
  for (const schema of ['public', 'drizzle']) {
    await query(name, `grant usage on schema ${schema} to ${role}`);
    await query(name, `grant all on all tables in schema ${schema} to ${role}`);
  }
  const url = new URL(own);
  url.username = role;
  return {
    role,
    name,
    url: url.href,
    setLimit: (to: number) => query(name, `alter role ${role} connection limit ${to}`),
  };
}

async function setUp(t: TestContext, limit: number) {
  const database = await withLimit(t, limit);
  const log = recordingLog();
  const { db, close, stats } = openPostgres({ url: database.url, poolMax: 10, statementTimeoutMs: 5000, log });
  t.after(close);
  const api = apiOn(db);
  const statuses = async (n: number, ask: () => ReturnType<typeof api>) =>
    (await Promise.all(Array.from({ length: n }, ask))).map(({ status }) => status);
  return { ...database, log, db, api, stats, statuses };
}

describe('too few connections', { timeout: 60_000 }, () => {
  test('requests wait for one that exists, whatever they are', async (t) => {
    const { api, statuses, stats, log } = await setUp(t, 2);
    const { id } = (await api('POST', HOOKS, { body: newEndpoint() })).json;
    const answers = await Promise.all([
      statuses(40, () => api('POST', HOOKS, { body: newEndpoint() })),
      statuses(40, () => api('PUT', `${HOOKS}/${id}`, { body: newEndpoint() })),
      statuses(40, () => api('GET', `${HOOKS}/${id}`)),
      statuses(40, () => api('GET', '/notifications')),
    ]);
    assert.deepEqual(
      answers.map((each) => [...new Set(each)]),
      [[201], [200], [200], [200]],
    );
    assert.ok(stats().total <= 2);
    assert.deepEqual(
      log.lines.map(({ level, msg }) => `${level} ${msg}`),
      ['warn database gives no more connections'],
    );
  });

  test('are no longer waited for when there are more again', async (t) => {
    const { db, api, statuses, stats, setLimit } = await setUp(t, 1);
    const { id } = (await api('POST', HOOKS, { body: newEndpoint() })).json;
    const many = () => statuses(40, () => api('PUT', `${HOOKS}/${id}`, { body: newEndpoint() }));
    assert.deepEqual(new Set(await many()), new Set([200]));
    assert.equal(stats().total, 1);
    await setLimit(-1);
    const busy = () => db.run(sleep, {}, AbortSignal.timeout(5000));
    while (stats().total < 10) await Promise.all(Array.from({ length: 20 }, busy));
    assert.deepEqual(new Set(await many()), new Set([200]));
  });

  test('of which none is ours are a 503 to each at once, and none follows when there is one', async (t) => {
    const { api, url, statuses } = await setUp(t, 1);
    const other = new pg.Client({ connectionString: url });
    await other.connect();
    const asked = () =>
      Promise.all([
        statuses(20, () => api('POST', HOOKS, { body: newEndpoint() })),
        statuses(20, () => api('GET', '/notifications')),
      ]);
    assert.deepEqual(new Set((await asked()).flat()), new Set([503]));
    await other.end();
    while ((await api('GET', '/notifications')).status !== 200);
    assert.deepEqual(
      (await asked()).map((each) => [...new Set(each)]),
      [[201], [200]],
    );
  });

  test('at a start are fatal, and named, so that whoever supervises it tries again', async (t) => {
    const { url } = await withLimit(t, 0);
    const service = spawnService({ DATABASE_URL: url });
    assert.equal(await service.exited, 1);
    const line = service.lines.find(({ msg }) => msg === 'cannot start');
    assert.match(JSON.stringify(line), /too many connections for role/);
  });
});
