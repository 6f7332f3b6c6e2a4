import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { headers, token } from '../support/tokens.ts';
import { workersHarness } from '../support/workerd.ts';

/** Variables as a deployment would have them, wrong ones among them. */
const harness = (own: Record<string, string>) => workersHarness(own, { api: own, binding: 'missing' });

describe('the service in workerd', async () => {
  const database = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const vars = { DATABASE_URL: database.url, DATABASE_FETCH_ENDPOINT: endpoint.url, REQUEST_TIMEOUT_MS: '5000' };
  const server = await harness(vars);
  after(async () => {
    await server.close();
    await endpoint.close();
    await database.drop();
  });
  await server.listen();

  /** Sends a request, and counts its round trips to the database. */
  async function ask(path: string, init?: { method: string; headers: Record<string, string>; body: string }) {
    const before = endpoint.requests();
    const response = await server.fetch(path, init ?? { headers: headers() });
    const text = await response.text();
    return { response, body: text && JSON.parse(text), roundTrips: endpoint.requests() - before };
  }
  const HOOKS = '/api/v1/webhook-endpoints';
  const create = (url: string, more: Record<string, string> = {}) =>
    ask(HOOKS, {
      method: 'POST',
      headers: { ...headers(), ...more },
      body: JSON.stringify({ url, events: ['nothing.ever'] }),
    });

  it('answers /health without the database and /ready with it', async () => {
    const health = await ask('/health');
    assert.equal(health.response.status, 200);
    assert.deepEqual(health.body, { status: 'ok' });
    assert.equal(health.roundTrips, 0);
    assert.match(health.response.headers.get('x-request-id') ?? '', /^[\w-]{8,}$/);

    // A cold worker's first statement may take longer than /ready waits.
    await ask(HOOKS);
    const ready = await ask('/ready');
    assert.equal(ready.response.status, 200);
    assert.equal(ready.roundTrips, 1);
  });

  it('creates an endpoint in one round trip, and shows it', async () => {
    const created = await create('https://example.com/ada', { 'X-Request-Id': 'from-the-client' });
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
    const { secret: _, ...shown } = created.body;
    assert.deepEqual(read.body, shown);
    assert.match(read.body.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const stored = await query(database.name, 'select url, events from webhook_endpoints where id = $1', [
      read.body.id,
    ]);
    assert.deepEqual(stored, [{ url: 'https://example.com/ada', events: ['nothing.ever'] }]);
  });

  it('replays an idempotent create', async () => {
    const key = { 'Idempotency-Key': '"once"' };
    const first = await create('https://example.com/once', key);
    const again = await create('https://example.com/once', key);
    assert.deepEqual([first.response.status, again.response.status], [201, 201]);
    assert.deepEqual(again.body, first.body);
    assert.equal(again.response.headers.get('idempotent-replayed'), 'true');
    assert.equal(again.roundTrips, 1);
  });

  it('tells a used Idempotency-Key as a problem', async () => {
    const key = { 'Idempotency-Key': '"twice"' };
    await create('https://example.com/one', key);
    const { response, body } = await create('https://example.com/other', key);
    assert.equal(response.status, 422);
    assert.equal(response.headers.get('content-type'), 'application/problem+json');
    assert.equal(body.status, 422);
    assert.equal(body.requestId, response.headers.get('x-request-id'));
  });

  it('refuses a bad token without asking the database', async () => {
    const bad = { Authorization: `Bearer ${token({ secret: 'another secret of more than 32 bytes, surely' })}` };
    const before = endpoint.requests();
    const response = await server.fetch(HOOKS, { headers: bad });
    assert.equal(response.status, 401);
    assert.match(response.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token"/);
    await response.text();
    assert.equal(endpoint.requests(), before);
  });

  it('writes nothing after a 504', async () => {
    const locked = await createLock(database.url);
    const { response } = await create('https://example.com/late');
    assert.equal(response.status, 504);
    await locked.release();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.deepEqual(await query(database.name, `select 1 from webhook_endpoints where url ~ 'late'`), []);
  });

  it('logs JSON lines without a newline of their own', async () => {
    const lines = server.getLogs().map(({ message }) => message.trimEnd());
    const requests = lines.filter((line) => line.includes('"msg":"request"')).map((line) => JSON.parse(line));
    assert.ok(requests.length > 0);
    assert.ok(requests.every(({ status, path }) => status && path));
    assert.ok(!lines.some((line) => line.includes('https://example.com/')));
  });
});

describe('a Worker with a bad configuration', () => {
  it('does not start, and names every problem without its value', async () => {
    const server = await harness({ DATABASE_URL: 'pglite:secret-dir', JWT_SECRET: 'tooshort', PORT: 'not-a-port' });
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

/** Locks endpoints against writers. */
async function createLock(url: string): Promise<{ release(): Promise<void> }> {
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('begin; lock table webhook_endpoints in exclusive mode');
  return { release: () => client.end() };
}
