// What a client is told about a write, and its actual outcome: a 504 `timeout` and a 503 mean that nothing was written
// and nothing will be; after `outcome-unknown`, repeating the request with the same key reveals the outcome.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { type Db, DbError } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { newEndpoint, newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { connectTo, createDatabase, openProxied, ownDatabase } from '../support/databases.ts';
import { noDb, silent } from '../support/deps.ts';
import { noPgbouncer, startPgbouncer } from '../support/pgbouncer.ts';
import { openTestPglite } from '../support/pglite-template.ts';
import { freePort, query, startPostgres } from '../support/postgres-server.ts';

const TIMEOUT_MS = 400;
/** For cases where something has to happen first: reaching the database may take long on a busy machine. */
const PATIENT_MS = 3000;
const HOOKS = '/webhook-endpoints';
const KEY = 'the-key';

type Api = ReturnType<typeof apiOn>;
type Method = 'POST' | 'PUT' | 'DELETE';
/** POST uses shared connections, the others use one of their own. */
const METHODS: Method[] = ['POST', 'PUT', 'DELETE'];

/** Creates an endpoint to change or delete, and a request. A second `ask` is the same request with the same key. */
async function asked(database: string, api: Api, method: Method) {
  const columns = '(id, url, events, description, secret, created_at, updated_at)';
  const values = `values (uuid_v7(), 'https://example.com/', '{a.b}', 'Old', 'sealed', now(), now()) returning id`;
  const id = (await query(database, `insert into webhook_endpoints ${columns} ${values}`))[0]?.id;
  const body = { ...newEndpoint(), description: 'New' };
  const requests = {
    POST: () => api('POST', HOOKS, { body, key: KEY }),
    PUT: () => api('PUT', `${HOOKS}/${id}`, { body }),
    DELETE: () => api('DELETE', `${HOOKS}/${id}`),
  };
  // Each is 1 if its request has taken effect once.
  const effects = {
    POST: `select count(*)::int as n from webhook_endpoints where url = '${body.url}'`,
    PUT: `select count(*)::int as n from webhook_endpoints where id = '${id}' and description = 'New'`,
    DELETE: `select 1 - count(*)::int as n from webhook_endpoints where id = '${id}'`,
  };
  // A write to it waits as long as this is in progress.
  const locks = {
    POST: `insert into idempotency_keys (subject, route, key, fingerprint, holder, response, created_at)
           values ('tester', 'POST /api/v1${HOOKS}', '${KEY}', '', uuid_v7(), '', now())`,
    PUT: `select from webhook_endpoints where id = '${id}' for update`,
    DELETE: `select from webhook_endpoints where id = '${id}' for update`,
  };
  return {
    ask: requests[method],
    effect: async () => (await query(database, effects[method]))[0]?.n,
    /** Blocks the write; returns how to release it. */
    async block(t: TestContext) {
      const rival = await connectTo(database);
      await rival.text('begin');
      await rival.text(locks[method]);
      let released: Promise<void> | undefined;
      const release = () => {
        released ??= rival.text('rollback').then(rival.close);
        return released;
      };
      t.after(() => release().catch(() => {}));
      return release;
    },
  };
}

type Asked = Awaited<ReturnType<typeof asked>>;
type Answer = Awaited<ReturnType<Api>>;

function said({ status, json }: Answer): string {
  return `${status} ${json?.type?.split('/').at(-1) ?? ''}`.trim();
}

/** Selects the service's backends, whatever their state. */
const ours = (name: string) => `
  select pid from pg_stat_activity where datname = '${name}' and application_name = 'keelson' and pid <> pg_backend_pid()`;

/** Waits until none of our backends is working, so that what was not written never will be. */
async function untilIdle(name: string): Promise<void> {
  while ((await query(name, `${ours(name)} and state <> 'idle'`)).length > 0);
}

async function untilWaiting(name: string): Promise<number> {
  for (;;) {
    const [row] = await query(name, `${ours(name)} and wait_event_type = 'Lock'`);
    if (row) return Number(row.pid);
  }
}

/** Asserts that repeating the request reveals the outcome: one effect, from either the first or this one. */
async function findsOut(name: string, method: Method, { ask, effect }: Asked, first: Answer): Promise<void> {
  assert.equal(said(first), '504 outcome-unknown');
  let again = await ask();
  // The first may still be under way.
  while (again.status >= 500) again = await ask();
  const statuses = { POST: [201], PUT: [200], DELETE: [204, 404] };
  assert.ok(statuses[method].includes(again.status), JSON.stringify(again.json));
  await untilIdle(name);
  assert.equal(await effect(), 1);
}

/** Opens connections, and prepares their statements. */
async function warmUp(db: Db): Promise<void> {
  assert.equal((await apiOn(db, 30_000)('POST', HOOKS, { body: newEndpoint() })).status, 201);
}

async function onProxied(t: TestContext, method: Method, timeoutMs = TIMEOUT_MS) {
  const proxied = await openProxied(t);
  const { name } = proxied.database;
  const api = apiOn(proxied.db, timeoutMs);
  await warmUp(proxied.db);
  return { ...proxied, name, api, what: await asked(name, api, method) };
}

for (const method of METHODS) {
  describe(`a ${method} whose deadline passes`, { timeout: 60_000, concurrency: 4 }, () => {
    async function isCanceled(t: TestContext, name: string, what: Asked, attempts = 3): Promise<void> {
      const release = await what.block(t);
      const answer = said(await what.ask());
      // On a busy machine cancellation may take longer than its grace, so that nothing is known yet.
      const retry = answer === '504 outcome-unknown' && attempts > 1;
      if (retry) {
        t.diagnostic('canceled later than its grace');
        await query(name, `select pg_terminate_backend(pid) from (${ours(name)} and state <> 'idle') as busy`);
      }
      await release();
      await untilIdle(name);
      assert.equal(await what.effect(), 0);
      if (retry) return isCanceled(t, name, what, attempts - 1);
      assert.equal(answer, '504 timeout');
    }

    test('is canceled', async (t) => {
      const { name, what } = await onProxied(t, method);
      await isCanceled(t, name, what);
    });

    test('is canceled behind a pooler, which hides the backend', { skip: noPgbouncer }, async (t) => {
      const { name, url } = await ownDatabase(t);
      const pooler = await startPgbouncer(url, 'session');
      t.after(() => pooler.stop());
      const { db, close } = openPostgres({ url: pooler.url, poolMax: 5, statementTimeoutMs: 20_000, log: silent });
      t.after(close);
      await isCanceled(t, name, await asked(name, apiOn(db, TIMEOUT_MS), method));
    });

    test('is canceled though the connection that canceled before is dead', async (t) => {
      const { name, what, api, proxy, db } = await onProxied(t, method);
      const before = await asked(name, api, 'PUT');
      await isCanceled(t, name, before);
      assert.equal((await apiOn(db, PATIENT_MS)('GET', HOOKS)).status, 200);
      proxy.goDead();
      assert.equal((await api('GET', HOOKS)).status, 504);
      // Once: after a retry there would be a new connection to cancel over.
      await isCanceled(t, name, what, 1);
    });

    test('and that cannot be canceled is not said to be', async (t) => {
      const { name, what, proxy } = await onProxied(t, method, PATIENT_MS);
      const release = await what.block(t);
      const answer = what.ask();
      await untilWaiting(name);
      proxy.blackHole(true);
      const first = await answer;
      await release();
      proxy.blackHole(false);
      await findsOut(name, method, what, first);
    });

    test('while a slow network has not brought it there yet is unknown, and done once at most', async (t) => {
      const { name, what, proxy } = await onProxied(t, method, PATIENT_MS);
      proxy.holdBack('client');
      const first = await what.ask();
      assert.equal(await what.effect(), 0);
      proxy.holdBack();
      await findsOut(name, method, what, first);
    });

    test('while a slow network has not brought the answer back is unknown, and was done', async (t) => {
      const { name, what, proxy } = await onProxied(t, method, PATIENT_MS);
      proxy.holdBack('server');
      const first = await what.ask();
      assert.equal(await what.effect(), 1);
      proxy.holdBack();
      await findsOut(name, method, what, first);
    });
  });

  describe(`a ${method} whose connection ends`, { timeout: 60_000 }, () => {
    test('by the server’s word is unavailable, and was not done', async (t) => {
      const { name, what } = await onProxied(t, method, PATIENT_MS);
      const release = await what.block(t);
      const answer = what.ask();
      await query(name, `select pg_terminate_backend(${await untilWaiting(name)})`);
      assert.equal(said(await answer), '503 unavailable');
      await release();
      await untilIdle(name);
      assert.equal(await what.effect(), 0);
    });

    test('without a word is unknown', async (t) => {
      const { name, what, proxy } = await onProxied(t, method, PATIENT_MS);
      const release = await what.block(t);
      const answer = what.ask();
      await untilWaiting(name);
      proxy.cut();
      const first = await answer;
      await release();
      await findsOut(name, method, what, first);
    });
  });

  describe(`a ${method} over Neon’s protocol`, { timeout: 60_000, concurrency: 4 }, () => {
    /** What happens to the request: after its statement has run, unless stated otherwise. */
    const faults: Record<string, (response: ServerResponse, body: string) => void> = {
      'is not answered': () => {},
      'is answered in HTML': (response) => void response.end('<html>hello</html>'),
      'is answered with 500': (response) => void response.writeHead(500).end('{"message":"no compute"}'),
      'is answered with 400 and no word of Postgres': (response) =>
        void response.writeHead(400).end('{"message":"connection closed","code":""}'),
      'is answered half': (response, body) => {
        response.writeHead(200, { 'Content-Length': body.length });
        response.write(body.slice(0, body.length / 2), () => response.destroy());
      },
      'is reset': (response) => void response.socket?.resetAndDestroy(),
    };
    for (const runs of [true, false]) {
      for (const [how, fault] of Object.entries(faults)) {
        test(`that ${how}, ${runs ? 'having' : 'not having'} been done, is unknown`, async (t) => {
          const { name, api, faulty } = await onNeon(t);
          const what = await asked(name, api, method);
          faulty.with({ fault, runs });
          const first = await what.ask();
          assert.equal(await what.effect(), runs ? 1 : 0);
          faulty.with(undefined);
          await findsOut(name, method, what, first);
        });
      }
    }

    test('that is refused, by Postgres or before it, is unavailable, and was not done', async (t) => {
      const { name, api, faulty } = await onNeon(t);
      const what = await asked(name, api, method);
      faulty.with({
        runs: false,
        fault: (response) => response.writeHead(429).end('{"message":"too many requests"}'),
      });
      assert.equal(said(await what.ask()), '503 unavailable');
      faulty.with(undefined);
      const release = await what.block(t);
      const answer = what.ask();
      for (;;) {
        const waits = `select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = '${name}' and wait_event_type = 'Lock'`;
        if ((await query(name, waits)).length > 0) break;
      }
      assert.equal(said(await answer), '503 unavailable');
      await release();
      assert.equal(await what.effect(), 0);
    });

    test('that nobody takes is unavailable', async (t) => {
      const { name, url } = await ownDatabase(t);
      const { db } = openNeon({ url, fetchEndpoint: `http://127.0.0.1:${await freePort()}/sql` });
      const what = await asked(name, apiOn(db, PATIENT_MS), method);
      assert.equal(said(await what.ask()), '503 unavailable');
    });
  });
}

type Fault = { fault: (response: ServerResponse, body: string) => void; runs: boolean };

/** Returns the API on Neon's driver, with a proxy that does to requests and responses what a test says. */
async function onNeon(t: TestContext) {
  const { name, url } = await ownDatabase(t);
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
  const state: { fault: Fault | undefined } = { fault: undefined };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const headers = new Headers();
    for (const [header, value] of Object.entries(request.headers)) {
      if (header.startsWith('neon-')) headers.set(header, String(value));
    }
    const forward = () => fetch(endpoint.url, { method: 'POST', headers, body: Buffer.concat(chunks) });
    const { fault } = state;
    const answer = !fault || fault.runs ? await forward() : undefined;
    const body = (await answer?.text()) ?? '{"fields":[],"rows":[]}';
    if (fault) fault.fault(response, body);
    else response.writeHead(answer?.status ?? 500).end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    server.close();
    server.closeAllConnections();
    await endpoint.close();
  });
  const fetchEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`;
  const { db } = openNeon({ url, fetchEndpoint });
  return {
    name,
    api: apiOn(db, PATIENT_MS),
    faulty: { with: (fault: Fault | undefined) => void Object.assign(state, { fault }) },
  };
}

describe('a whole server', { timeout: 120_000, skip: process.platform !== 'linux' && 'needs /proc' }, () => {
  const usual = process.env.TEST_POSTGRES_URL;
  let server: Awaited<ReturnType<typeof startPostgres>>;
  before(async () => {
    server = await startPostgres({ durable: true });
  });
  after(async () => {
    server.thaw();
    await server.stop();
    process.env.TEST_POSTGRES_URL = usual;
  });

  async function setUp(t: TestContext, method: Method, timeoutMs = TIMEOUT_MS) {
    const { name, url } = await createDatabase();
    const { db, close } = openPostgres({ url, poolMax: 5, statementTimeoutMs: 20_000, log: silent });
    t.after(close);
    return { name, db, what: await asked(name, apiOn(db, timeoutMs), method) };
  }

  for (const method of METHODS) {
    test(`that is frozen leaves a ${method} unknown, and it is done once when it goes on`, async (t) => {
      const { name, db, what } = await setUp(t, method, PATIENT_MS);
      await warmUp(db);
      server.freeze();
      const first = await what.ask();
      server.thaw();
      await findsOut(name, method, what, first);
    });

    test(`that is frozen before there is a connection leaves a ${method} undone`, async (t) => {
      const { name, what } = await setUp(t, method);
      server.freeze();
      assert.equal(said(await what.ask()), '504 timeout');
      server.thaw();
      await untilIdle(name);
      assert.equal(await what.effect(), 0);
    });

    test(`that crashes leaves a ${method} unknown`, async (t) => {
      const { name, what } = await setUp(t, method, 3 * PATIENT_MS);
      await what.block(t);
      const answer = what.ask();
      await untilWaiting(name);
      const other = await connectTo(name);
      const [backend] = await other.text('select pg_backend_pid() as pid');
      process.kill(Number(backend?.pid), 'SIGKILL');
      const first = await answer;
      while (!(await query(name, 'select').catch(() => undefined)));
      await findsOut(name, method, what, first);
    });
  }
});

for (const [what, run] of Object.entries({
  'got no answer': () => Promise.reject(new DbError('unknown', 'no answer to the statement')),
  'outlasts its grace': ({ mock }: TestContext) => {
    // The deadline, and then its grace.
    for (const ms of [5000, 1500]) mock.timers.tick(ms);
    return new Promise<never>(() => {});
  },
})) {
  test(`a write that ${what} rings the dispatchers, as it may have queued something`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let rings = 0;
    const api = apiOn({ ...noDb, run: () => run(t) }, 5000, { wake: () => void rings++ });
    assert.equal(said(await api('POST', '/notifications', { body: newNotice() })), '504 outcome-unknown');
    assert.equal(rings, 1);
    await api('GET', `${HOOKS}/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f`);
    assert.equal(rings, 1);
  });
}

test('in this process a deadline that passes while others are at work is told as it is', async (t) => {
  const { db, close } = await openTestPglite();
  t.after(close);
  const api = apiOn(db, 1);
  const answers = await Promise.all(Array.from({ length: 50 }, () => api('POST', HOOKS, { body: newEndpoint() })));
  const { json } = await apiOn(db)('GET', `${HOOKS}?limit=100`);
  const done = answers.filter(({ status }) => status === 201);
  assert.deepEqual(json.data.map(({ url }: { url: string }) => url).sort(), done.map(({ json }) => json.url).sort());
  assert.deepEqual(new Set(answers.map(said)), new Set(done.length > 0 ? ['201', '504 timeout'] : ['504 timeout']));
});
