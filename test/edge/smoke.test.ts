import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { PGlite } from '@electric-sql/pglite';
import { sql } from 'drizzle-orm';
import { DbError, statement } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { workersLimiter } from '../../src/platform/limiter-workers.ts';
import { pgliteBackend, postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from '../support/databases.ts';
import { SECRET } from '../support/deps.ts';
import { freePort, query } from '../support/postgres-server.ts';
import { headers, token } from '../support/tokens.ts';

// Read by wrangler as it loads: nothing may be sent anywhere, nor asked.
Object.assign(process.env, {
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  WRANGLER_LOG: 'error',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  CI: '1',
});
const { createTestHarness } = await import('wrangler');

const root = join(import.meta.dirname, '../..');

/** The API in real workerd; `own` variables go over those that it needs. */
function harness(own: Record<string, string>) {
  const vars = { APP_ENV: 'development', JWT_SECRET: SECRET, ...own };
  return createTestHarness({ root, workers: [{ configPath: 'wrangler.toml', vars }] });
}

describe('the service in workerd', async () => {
  const database = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const vars = { DATABASE_URL: database.url, DATABASE_FETCH_ENDPOINT: endpoint.url, REQUEST_TIMEOUT_MS: '1500' };
  const server = harness(vars);
  await server.listen();
  after(async () => {
    await server.close();
    await endpoint.close();
    await database.drop();
  });

  /** A request, and how many round trips to the database it cost. */
  async function ask(path: string, init?: { method: string; headers: Record<string, string>; body: string }) {
    const before = endpoint.requests();
    const response = await server.fetch(path, init ?? { headers: headers() });
    const text = await response.text();
    return { response, body: text && JSON.parse(text), roundTrips: endpoint.requests() - before };
  }
  const create = (email: string, more: Record<string, string> = {}) =>
    ask('/api/v1/users', {
      method: 'POST',
      headers: { ...headers(), ...more },
      body: JSON.stringify({ email, name: 'Ada' }),
    });

  it('answers /health without the database and /ready with it', async () => {
    const health = await ask('/health');
    assert.equal(health.response.status, 200);
    assert.deepEqual(health.body, { status: 'ok' });
    assert.equal(health.roundTrips, 0);
    assert.match(health.response.headers.get('x-request-id') ?? '', /^[\w-]{8,}$/);

    const ready = await ask('/ready');
    assert.equal(ready.response.status, 200);
    assert.equal(ready.roundTrips, 1);
  });

  it('creates a user in one round trip, and shows it', async () => {
    const created = await create('ada@example.com', { 'X-Request-Id': 'from-the-client' });
    assert.equal(created.response.status, 201);
    assert.equal(created.roundTrips, 1);
    assert.equal(created.response.headers.get('etag'), '"1"');
    assert.equal(created.response.headers.get('x-request-id'), 'from-the-client');
    assert.equal(created.response.headers.get('ratelimit-policy'), '"default";q=600;w=60');
    assert.equal(created.response.headers.get('ratelimit'), null, 'the binding does not know what remains');

    const path = created.response.headers.get('location') as string;
    const read = await ask(path);
    assert.equal(read.response.status, 200);
    assert.equal(read.roundTrips, 1);
    assert.deepEqual(read.body, created.body);
    assert.match(read.body.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const stored = await query(database.name, 'select email, name from users where id = $1', [read.body.id]);
    assert.deepEqual(stored, [{ email: 'ada@example.com', name: 'Ada' }]);
  });

  it('replays an idempotent create', async () => {
    const key = { 'Idempotency-Key': '"once"' };
    const first = await create('once@example.com', key);
    const again = await create('once@example.com', key);
    assert.deepEqual([first.response.status, again.response.status], [201, 201]);
    assert.deepEqual(again.body, first.body);
    assert.equal(again.response.headers.get('idempotent-replayed'), 'true');
    assert.equal(again.roundTrips, 1);
  });

  it('tells a taken email as a problem', async () => {
    await create('taken@example.com');
    const { response, body } = await create('TAKEN@example.com');
    assert.equal(response.status, 409);
    assert.equal(response.headers.get('content-type'), 'application/problem+json');
    assert.equal(body.status, 409);
    assert.equal(body.requestId, response.headers.get('x-request-id'));
  });

  it('refuses a bad token without asking the database', async () => {
    const bad = { Authorization: `Bearer ${token({ secret: 'another secret of more than 32 bytes, surely' })}` };
    const before = endpoint.requests();
    const response = await server.fetch('/api/v1/users', { headers: bad });
    assert.equal(response.status, 401);
    assert.match(response.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token"/);
    await response.text();
    assert.equal(endpoint.requests(), before);
  });

  it('writes nothing after a 504', async () => {
    const locked = await createLock(database.url);
    const { response } = await create('late@example.com');
    assert.equal(response.status, 504);
    await locked.release();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(await query(database.name, `select 1 from users where email = 'late@example.com'`), []);
  });

  it('logs JSON lines without a newline of their own', async () => {
    const lines = server.getLogs().map(({ message }) => message.trimEnd());
    const requests = lines.filter((line) => line.includes('"msg":"request"')).map((line) => JSON.parse(line));
    assert.ok(requests.length > 0);
    assert.ok(requests.every(({ status, path }) => status && path));
    assert.ok(!lines.some((line) => line.includes('@example.com')));
  });
});

describe('a Worker with a bad configuration', () => {
  it('does not start, and names every problem without its value', async () => {
    const server = harness({ DATABASE_URL: 'pglite:secret-dir', JWT_SECRET: 'tooshort', PORT: 'not-a-port' });
    const answer = await server
      .listen()
      .then(() => server.fetch('/health'))
      .then((response) => response.text())
      .catch((error) => String(error));
    const output = answer + JSON.stringify(server.getLogs());
    await server.close();
    for (const name of ['DATABASE_URL', 'JWT_SECRET', 'PORT']) assert.ok(output.includes(name), output);
    for (const value of ['secret-dir', 'tooshort', 'not-a-port']) assert.ok(!output.includes(value), output);
  });
});

const types = statement<{ id: string }, Record<string, unknown>>(
  'test.types',
  ($) => sql`select ${$.id}::uuid as id, 7::int4 as int, true as bool, 0.5::float8 as float, null as nothing,
    '2026-01-02T03:04:05.678Z'::timestamptz as time, 5::int8 as big, '{"a":[1]}'::jsonb as json, 'ü' as text`,
);
const failing = (code: string) =>
  statement<object, unknown>(`test.${code}`, () => sql.raw(`do $$ begin raise sqlstate '${code}'; end $$`));
const sleep = statement<{ s: number }, unknown>('test.sleep', ($) => sql`select pg_sleep(${$.s}::float8)`);

describe('the Neon driver', () => {
  const PASSWORD = 'pa55word';
  const url = `postgres://someone:${PASSWORD}@db.example.com/app`;

  for (const [name, open] of Object.entries({
    postgres: async () => {
      const { url, drop } = await createDatabase();
      return { url, backend: postgresBackend(url), drop };
    },
    pglite: async () => ({ url, backend: pgliteBackend(await PGlite.create('memory://')), drop: async () => {} }),
  })) {
    it(`gives values the types that node-postgres gives them (${name})`, async (t) => {
      const { url, backend, drop } = await open();
      const endpoint = await startNeonEndpoint({ backend });
      t.after(() => endpoint.close().then(drop));
      const { db } = openNeon({ url, fetchEndpoint: endpoint.url });
      const id = '018f0000-0000-7000-8000-000000000001';
      const time = new Date('2026-01-02T03:04:05.678Z');
      const rest = { int: 7, bool: true, float: 0.5, nothing: null, big: '5', json: { a: [1] }, text: 'ü' };
      assert.deepEqual(await db.run(types, { id }), [{ id, time, ...rest }]);
      assert.equal(endpoint.requests(), 1);
      await assert.rejects(db.run(failing('23505'), {}), { failure: 'failed', sqlState: '23505' });
      await assert.rejects(db.run(failing('40001'), {}), { failure: 'unavailable', sqlState: '40001' });
      await assert.rejects(db.run({ ...failing('2'), text: 'select 1; select 2' }, {}), { sqlState: '42601' });
    });
  }

  it('cancels the statement of a client that hangs up, or that outlasts its time', async (t) => {
    const { url, name, drop } = await createDatabase();
    const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
    t.after(() => endpoint.close().then(drop));
    const running = `select 1 from pg_stat_activity where datname = '${name}' and query like '%pg_sleep(%'
      and state = 'active' and pid <> pg_backend_pid()`;

    const { db } = openNeon({ url, fetchEndpoint: endpoint.url });
    const gone = db.run(sleep, { s: 30 }, AbortSignal.timeout(200));
    await assert.rejects(gone, { failure: 'canceled', sqlState: undefined });
    for (let tries = 0; (await query(name, running)).length > 0; tries++) assert.ok(tries < 50, 'still running');

    const timed = openNeon({ url, fetchEndpoint: endpoint.url, statementTimeoutMs: 300 }).db;
    // The deadline passes just before the server's: its word is waited for.
    const late = timed.run(sleep, { s: 30 }, AbortSignal.timeout(290));
    await assert.rejects(late, { failure: 'canceled', sqlState: '57014' });
  });

  const html: RequestListener = (_, response) => void response.end('<html>hello</html>');
  const half: RequestListener = (_, response) => {
    response.writeHead(200, { 'Content-Length': '1000' }).write('{"rows":[', () => response.destroy());
  };
  const broken: RequestListener = (_, response) => void response.writeHead(500).end('{"message":"no compute"}');
  const badHtml: RequestListener = (_, response) => void response.writeHead(400).end('<html>');
  const empty: RequestListener = (_, response) => void response.end('null');
  for (const [what, listener] of Object.entries({ html, half, broken, badHtml, empty })) {
    it(`calls the database unavailable when the answer is ${what}`, async () => {
      const server = createServer(listener).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const fetchEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`;
      await assert.rejects(openNeon({ url, fetchEndpoint }).db.run(sleep, { s: 0 }), unavailable);
      server.close();
      server.closeAllConnections();
    });
  }

  it('calls it unavailable when nobody listens', async () => {
    const { db } = openNeon({ url, fetchEndpoint: `http://127.0.0.1:${await freePort()}/sql` });
    await assert.rejects(db.run(sleep, { s: 0 }), (error) => unavailable(error) && /ECONNREFUSED/.test(String(error)));
  });

  it('never tells the password', async () => {
    assert.throws(() => openNeon({ url: `postgres://a:${PASSWORD}@[bad/db` }), withoutPassword);
    const { db } = openNeon({ url: `postgres://:${PASSWORD}@host/`, fetchEndpoint: 'http://127.0.0.1:1/sql' });
    await assert.rejects(db.run(sleep, { s: 0 }), unavailable);
  });

  function unavailable(error: unknown): boolean {
    return error instanceof DbError && error.failure === 'unavailable' && withoutPassword(error);
  }
  function withoutPassword(error: unknown): boolean {
    const { message, stack, cause } = error as Error;
    return !`${message} ${stack} ${cause} ${JSON.stringify(error)}`.includes(PASSWORD);
  }
});

describe('the Neon endpoint', async () => {
  const { url, drop } = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
  after(async () => {
    await endpoint.close();
    await drop();
  });
  const common = { 'Neon-Connection-String': url, 'Neon-Raw-Text-Output': 'true', 'Neon-Array-Mode': 'true' };

  async function post(body: unknown, headers: Record<string, string> = common) {
    const response = await fetch(endpoint.url, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  it('wants a connection string, of its own database', async () => {
    assert.equal((await post({ query: 'select 1' }, {})).status, 400);
    const other = { ...common, 'Neon-Connection-String': `${url}x` };
    assert.equal((await post({ query: 'select 1' }, other)).status, 400);
  });

  it('answers with text, and refuses what is too large', async () => {
    const { status, body } = await post({ query: 'select $1::int + 1 as n', params: [41] });
    assert.equal(status, 200);
    assert.deepEqual(body.fields, [{ name: 'n', dataTypeID: 23 }]);
    assert.deepEqual([body.rows, body.command, body.rowCount], [[['42']], 'SELECT', 1]);
    assert.equal((await post({ query: `select repeat('x', 11000000)` })).status, 507);
  });

  it('runs a batch in one transaction', async () => {
    const insert = (name: string) => ({
      query: `insert into users (id, email, name, created_at, updated_at)
        values (gen_random_uuid(), $1, 'n', now(), now())`,
      params: [name],
    });
    const failed = await post({ queries: [insert('one@x.test'), insert('one@x.test')] });
    assert.deepEqual([failed.status, failed.body.code], [400, '23505']);
    assert.equal(failed.body.constraint, 'users_email_unique');
    const count = { query: 'select count(*), current_setting($1) from users', params: ['transaction_isolation'] };
    const serializable = { ...common, 'Neon-Batch-Isolation-Level': 'Serializable' };
    const { body } = await post({ queries: [count, insert('two@x.test'), count] }, serializable);
    const rows = (body.results as { rows: unknown[] }[]).map((result) => result.rows);
    assert.deepEqual(rows, [[['0', 'serializable']], [], [['1', 'serializable']]]);
    const readOnly = await post({ queries: [insert('three@x.test')] }, { ...common, 'Neon-Batch-Read-Only': 'true' });
    assert.equal(readOnly.body.code, '25006');
  });
});

describe('the limiter on the binding', () => {
  it('remembers a refused address for a window, and never invents what remains', async () => {
    let time = 0;
    let success = false;
    const limiter = workersLimiter({ limit: async () => ({ success }) }, 600, 60, () => time);
    assert.deepEqual(await limiter.take('sub:a'), { allowed: false });
    assert.equal(await limiter.spent('sub:a'), undefined);
    assert.equal(await limiter.spent('address:a'), undefined);
    assert.deepEqual(await limiter.take('address:a'), { allowed: false });
    assert.deepEqual(await limiter.spent('address:a'), { allowed: false });
    time = 60_000;
    success = true;
    assert.equal(await limiter.spent('address:a'), undefined);
    assert.deepEqual(await limiter.take('address:a'), { allowed: true });
  });

  it('lets requests pass when the binding fails', async () => {
    const limiter = workersLimiter({ limit: () => Promise.reject(new Error('away')) }, 600, 60);
    assert.deepEqual(await limiter.take('address:a'), { allowed: true });
  });
});

/** Holds users against writers. */
async function createLock(url: string): Promise<{ release(): Promise<void> }> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('begin; lock table users in exclusive mode');
  return { release: () => client.end() };
}
