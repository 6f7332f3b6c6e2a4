// A Postgres that takes no writes for a while, as with a full plan or in the middle of a failover.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { app } from '../../src/app.ts';
import type { Db } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { assertProblem, caller, newEndpoint, newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { createDatabase, openProxied, ownDatabase } from '../support/databases.ts';
import { silent, testDeps } from '../support/deps.ts';
import { openTestPglite } from '../support/pglite-template.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { type LogLine, startService } from '../support/service.ts';
import { startSink } from '../support/sink.ts';

const HOOKS = '/webhook-endpoints';

/** The API on `db`, and whether it is ready. */
function serviceOn(db: Db) {
  const api = apiOn(db);
  const ready = async () => (await app.request('/ready', {}, testDeps({ db }))).status;
  return {
    api,
    ready,
    async untilReady() {
      while ((await ready()) !== 200);
    },
    /** Every kind of write is refused as a temporary failure, and reads go on. */
    async refusesWrites(id: string) {
      for (const [method, path] of [
        ['POST', HOOKS],
        ['PUT', `${HOOKS}/${id}`],
        ['DELETE', `${HOOKS}/${id}`],
      ] as const) {
        const { status, headers, json } = await api(method, path, method === 'DELETE' ? {} : { body: newEndpoint() });
        assert.equal(status, 503, `${method}: ${JSON.stringify(json)}`);
        assert.match(json.type, /\/problems\/unavailable$/);
        assert.match(headers.get('retry-after') ?? '', /^[1-9]\d*$/);
      }
      assert.equal((await api('GET', `${HOOKS}/${id}`)).status, 200);
      assert.equal(await ready(), 503);
    },
    /** Many at once, so that every connection is used. */
    async takesWrites(n = 320) {
      const answers = await Promise.all(Array.from({ length: n }, () => api('POST', HOOKS, { body: newEndpoint() })));
      assert.deepEqual(
        answers.filter(({ status }) => status !== 201),
        [],
      );
    },
  };
}

const sessionsOf = (name: string) => `
  select pg_terminate_backend(pid, 5000) from pg_stat_activity
  where datname = '${name}' and pid <> pg_backend_pid() and backend_type = 'client backend'`;

/** Makes a database read-only as providers do: for all new sessions, ending the old ones. */
async function readOnly(name: string): Promise<void> {
  await query('postgres', `alter database ${name} set default_transaction_read_only = on`);
  await query('postgres', sessionsOf(name));
}

/** Sessions that began meanwhile go on as they are. */
const writable = (name: string) => query('postgres', `alter database ${name} reset default_transaction_read_only`);

async function onProxied(t: TestContext) {
  const proxied = await openProxied(t, { statementTimeoutMs: 5000 });
  const service = serviceOn(proxied.db);
  const hook = (await service.api('POST', HOOKS, { body: newEndpoint() })).json;
  return { ...proxied, ...service, hook, name: proxied.database.name };
}

describe('a database that is read-only', { timeout: 60_000 }, () => {
  test('is unavailable to writes and not ready; when it is over, every write is taken', async (t) => {
    const { name, hook, refusesWrites, takesWrites, untilReady, api } = await onProxied(t);
    await readOnly(name);
    await Promise.all(Array.from({ length: 50 }, () => api('POST', HOOKS, { body: newEndpoint() })));
    await refusesWrites(hook.id);
    await writable(name);
    await untilReady();
    await takesWrites();
  });

  test('for one session alone costs that connection and nobody else', async (t) => {
    const { db, api, takesWrites, stats } = await onProxied(t);
    while (stats().total > 1) await new Promise(setImmediate);
    const session = { name: 'test.readOnly', shares: undefined, params: () => [] };
    const text = 'set session characteristics as transaction read only';
    await db.run({ ...session, text }, {}, AbortSignal.timeout(5000));
    assert.equal((await api('POST', HOOKS, { body: newEndpoint() })).status, 503);
    await takesWrites(50);
  });

  test('is not stormed with new connections, however many writes are refused', async (t) => {
    const { name, proxy, api } = await onProxied(t);
    await readOnly(name);
    const began = performance.now();
    const before = proxy.accepted();
    for (let i = 0; i < 20; i++) {
      await Promise.all(Array.from({ length: 50 }, () => api('POST', HOOKS, { body: newEndpoint() })));
    }
    const seconds = Math.ceil((performance.now() - began) / 1000);
    const opened = proxy.accepted() - before;
    assert.ok(opened <= 10 * (seconds + 2), `${opened} connections for 1,000 writes in ${seconds} s`);
  });

  test('is no different over Neon’s protocol', async (t) => {
    const database = await ownDatabase(t);
    const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
    t.after(() => endpoint.close());
    const service = serviceOn(openNeon({ url: database.url, fetchEndpoint: endpoint.url }).db);
    const hook = (await service.api('POST', HOOKS, { body: newEndpoint() })).json;
    await readOnly(database.name);
    await service.refusesWrites(hook.id);
  });

  test('is no different in this process', async (t) => {
    const { db, close } = await openTestPglite();
    t.after(close);
    const { api, refusesWrites, takesWrites, untilReady } = serviceOn(db);
    const hook = (await api('POST', HOOKS, { body: newEndpoint() })).json;
    const set = (to: string) => {
      const text = `select set_config('default_transaction_read_only', '${to}', false)`;
      return db.run({ name: 'test.set', shares: undefined, text, params: () => [] }, {}, AbortSignal.timeout(5000));
    };
    await set('on');
    await refusesWrites(hook.id);
    await set('off');
    await untilReady();
    await takesWrites(10);
  });

  test('is waited for by the dispatcher, which says little and goes on by itself', async (t) => {
    const database = await ownDatabase(t);
    const sink = await startSink();
    t.after(() => sink.close());
    const service = await startService({ DATABASE_URL: database.url, DISPATCH_INTERVAL_MS: '1000' });
    t.after(() => service.stop('SIGKILL'));
    const call = caller(() => service);
    const body = { url: sink.url('/hook'), events: ['*'] };
    assert.equal((await call('POST', '/api/v1/webhook-endpoints', { body })).status, 201);
    await call('POST', '/api/v1/notifications', { body: newNotice() });
    await sink.received('/hook', 1);
    await readOnly(database.name);
    const began = performance.now();
    assertProblem(await call('POST', '/api/v1/notifications', { body: newNotice() }), 503, 'unavailable');
    assert.equal((await call('GET', '/ready')).status, 503);
    const isClaim = ({ msg }: LogLine) => msg === 'claim failed';
    await service.line(() => service.lines.filter(isClaim).length === 4);
    const errors = service.lines.filter(({ level, msg }) => level === 'error' && msg.startsWith('dispatcher'));
    const seconds = (performance.now() - began) / 1000;
    assert.ok(errors.length <= 3 + 2 * seconds, `${errors.length} lines in ${seconds} s`);
    await writable(database.name);
    while ((await call('GET', '/ready')).status !== 200);
    assert.equal((await call('POST', '/api/v1/notifications', { body: newNotice() })).status, 202);
    await sink.received('/hook', 2);
    assert.equal(await service.stop(), 0, service.output());
  });
});

test('a standby serves reads and is not ready, until it is promoted', { timeout: 60_000 }, async (t) => {
  let close: (() => Promise<void>) | undefined;
  const usual = process.env.TEST_POSTGRES_URL;
  const server = await startPostgres();
  t.after(async () => {
    await close?.();
    await server.stop();
    process.env.TEST_POSTGRES_URL = usual;
  });
  const { name, url } = await createDatabase();
  const [hook] = await query(
    name,
    `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
     values (uuid_v7(), 'https://example.com/', '{a.b}', 'sealed', now(), now()) returning id`,
  );
  await server.restartAsStandby();
  const open = openPostgres({ url, poolMax: 10, statementTimeoutMs: 5000, log: silent });
  close = open.close;
  const { refusesWrites, takesWrites, untilReady } = serviceOn(open.db);
  await refusesWrites(String(hook?.id));
  await query('postgres', 'select pg_promote()');
  await untilReady();
  await takesWrites(50);
});
