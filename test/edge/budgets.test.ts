import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type Answer, caller, unique, uniqueEmail } from '../conformance/target.ts';
import { SECRET } from '../support/deps.ts';
import { query } from '../support/postgres-server.ts';
import { bundle, serveBundle } from '../support/raw-workerd.ts';
import { startWorkers, type Workers } from '../support/workerd.ts';

const BUNDLE_KIB = 160;
const COLD_START_MS = 60;
/** Other tests run at the same time: the figure is printed, and what is asserted leaves room for them. */
const NOISE = 3;
const STARTS = 20;

/** As after the last failed attempt. */
const DIE = `
  with gone as (delete from deliveries where notification_id = $1)
  insert into outcomes (notification_id, status, attempts, finished_at, duration_ms, dispatcher)
  values ($1, 'dead', 10, now(), 1, 'test')`;

describe("the API's bundle", () => {
  let built: Awaited<ReturnType<typeof bundle>>;
  before(async () => {
    built = await bundle();
  });
  after(() => built.remove());

  it(`has at most ${BUNDLE_KIB} KiB, minified and compressed`, (t) => {
    const kib = gzipSync(readFileSync(built.file), { level: 9 }).length / 1024;
    t.diagnostic(`${kib.toFixed(1)} KiB`);
    assert.ok(kib <= BUNDLE_KIB, `${kib} KiB`);
  });

  it('answers soon after a cold start', async (t) => {
    const vars = {
      APP_ENV: 'production',
      DATABASE_URL: 'postgres://someone:secret@db.example.com/app',
      JWT_SECRET: SECRET,
      SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
    };
    const times: number[] = [];
    for (let i = 0; i < STARTS; i++) {
      const began = performance.now();
      const { url, stop } = await serveBundle(built.file, vars);
      const { status } = await fetch(`${url}/health`);
      times.push(performance.now() - began);
      assert.equal(status, 200);
      await stop();
    }
    times.sort((a, b) => a - b);
    const median = times[STARTS / 2] as number;
    t.diagnostic(`median ${median.toFixed(0)} ms of ${STARTS}, best ${times[0]?.toFixed(0)} ms`);
    assert.ok(median <= NOISE * COLD_START_MS, `${median} ms`);
  });
});

describe('round trips to the database', () => {
  let workers: Workers;
  before(async () => {
    workers = await startWorkers({}, { binding: 'missing' });
  });
  after(() => workers.close());

  it('are one for each operation that goes well, and none for what touches no data', async () => {
    const call = caller(() => workers);
    const seen: Record<string, number> = {};

    async function ask(operation: string, path: string, body?: unknown, headers = {}): Promise<Answer> {
      const before = workers.requests();
      const method = operation.split(' ')[0] as string;
      const answer = await call(method, path, { ...(body !== undefined && { body }), headers });
      assert.ok(answer.status < 300, `${operation}: ${answer.text}`);
      seen[operation] = workers.requests() - before;
      return answer;
    }

    for (const path of ['/health', '/openapi.json', '/docs']) await ask(`GET ${path}`, path);
    await ask('GET /ready', '/ready');
    const users = '/api/v1/users';
    const user = { email: uniqueEmail(), name: 'Ada' };
    const key = { 'Idempotency-Key': unique() };
    const hooks = '/api/v1/webhook-endpoints';
    const hook = { url: 'https://example.com/hook', events: ['*'] };
    const hookId = (await ask(`POST ${hooks}`, hooks, hook, key)).json.id;
    await ask(`GET ${hooks}`, hooks);
    await ask(`GET ${hooks}/{id}`, `${hooks}/${hookId}`);
    await ask(`PUT ${hooks}/{id}`, `${hooks}/${hookId}`, hook, { 'If-Match': '"1"' });
    await ask(`POST ${hooks}/{id}/rotate-secret`, `${hooks}/${hookId}/rotate-secret`);

    const userId = (await ask(`POST ${users}`, users, user, key)).json.id;
    await ask(`GET ${users}`, `${users}?limit=1`);
    await ask(`GET ${users}/{id}`, `${users}/${userId}`);
    await ask(`PUT ${users}/{id}`, `${users}/${userId}`, user, { 'If-Match': '"1"' });

    const told = '/api/v1/notifications';
    const notice = { userId, type: 'order.sent', data: {} };
    await ask(`POST ${told}`, told, notice, key);
    const { id } = (await ask(`POST ${hooks}/{id}/test`, `${hooks}/${hookId}/test`)).json;
    await ask(`GET ${told}`, `${told}?status=pending`);
    await ask(`GET ${told}/{id}`, `${told}/${id}`);
    await query(workers.database.name, DIE, [id]);
    await ask(`POST ${told}/{id}/redrive`, `${told}/${id}/redrive`);
    await ask(`POST ${told}/{id}/cancel`, `${told}/${id}/cancel`);
    await ask(`DELETE ${hooks}/{id}`, `${hooks}/${hookId}`);
    await ask(`DELETE ${users}/{id}`, `${users}/${userId}`);

    const without = ['GET /health', 'GET /openapi.json', 'GET /docs'];
    for (const [operation, count] of Object.entries(seen)) {
      assert.equal(count, without.includes(operation) ? 0 : 1, operation);
    }
    const { paths } = (await call('GET', '/openapi.json')).json as { paths: Record<string, object> };
    for (const [path, methods] of Object.entries(paths)) {
      if (!path.startsWith('/api/')) continue;
      for (const method of Object.keys(methods)) {
        const operation = `${method.toUpperCase()} ${path}`;
        if (/^(GET|POST|PUT|DELETE) /.test(operation)) assert.ok(operation in seen, `${operation} was not counted`);
      }
    }
  });
});
