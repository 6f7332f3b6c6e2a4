import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertProblem, type Call, caller, newEndpoint } from '../conformance/target.ts';
import { query } from '../support/postgres-server.ts';
import { untilReady } from '../support/service.ts';
import { startWorkers, workersHarness } from '../support/workerd.ts';

const DATABASE_URL = 'postgres://someone:pa55word@db.example.com/app';

describe('the API on Workers while Neon is ill', () => {
  let answer: RequestListener;
  const neon = createServer((request, response) => answer(request, response));
  let harness: Awaited<ReturnType<typeof workersHarness>>;
  let call: Call;

  before(async () => {
    neon.listen(0, '127.0.0.1');
    await once(neon, 'listening');
    const endpoint = `http://127.0.0.1:${(neon.address() as AddressInfo).port}/sql`;
    harness = await workersHarness({ DATABASE_URL, DATABASE_FETCH_ENDPOINT: endpoint, REQUEST_TIMEOUT_MS: '3000' });
    const { url } = await harness.listen();
    call = caller(() => ({ url: url.href }));
    // The first statement of a Worker takes longer than others.
    answer = (_, response) => void response.writeHead(500).end();
    await call('GET', '/ready');
  });
  after(async () => {
    await harness.close();
    neon.close();
    neon.closeAllConnections();
  });

  // The outcome of a write that may have been sent is unknown; a read changed nothing.
  const faults: Record<string, [RequestListener, ofRead: [status: number, name: string]]> = {
    'answers 500': [
      (_, response) => void response.writeHead(500).end('{"message":"no compute"}'),
      [503, 'unavailable'],
    ],
    'answers with HTML': [(_, response) => void response.end('<html>hello</html>'), [503, 'unavailable']],
    'breaks off half-way': [
      (_, response) => {
        response.writeHead(200, { 'Content-Length': '1000' }).write('{"rows":[', () => response.destroy());
      },
      // The harness passes the body through this process, which does not notice its end: raw workerd returns 503.
      [504, 'timeout'],
    ],
    'hangs up': [(request) => void request.socket.destroy(), [503, 'unavailable']],
    'never answers': [() => {}, [504, 'timeout']],
  };
  for (const [what, [listener, [status, ofRead]]] of Object.entries(faults)) {
    it(`says ${status} to a read, and that a write is unknown, when it ${what}`, async () => {
      answer = listener;
      const read = await call('GET', '/api/v1/webhook-endpoints?limit=1');
      assertProblem(read, status, ofRead);
      if (status === 503) assert.ok(Number(read.headers.get('retry-after')) > 0);
      const body = newEndpoint();
      assertProblem(await call('POST', '/api/v1/webhook-endpoints', { body }), 504, 'outcome-unknown');
      assert.equal((await call('GET', '/ready')).status, 503);
      assert.equal((await call('GET', '/health')).status, 200);
    });
  }

  it('tells its password to nobody', () => {
    const lines = JSON.stringify(harness.getLogs());
    assert.match(lines, /cannot reach the database/);
    assert.doesNotMatch(lines, /pa55word/);
  });
});

describe('a Worker without its configuration', () => {
  const refusals: Record<string, Parameters<typeof workersHarness>> = {
    'the API': [{ DATABASE_URL }, { api: { DATABASE_URL: '', JWT_SECRET: 'tooshort' } }],
    'the dispatcher': [{ DATABASE_URL }, { dispatcher: { DATABASE_URL: '', DISPATCH_CONCURRENCY: '6' } }],
  };
  const names = {
    'the API': ['DATABASE_URL', 'JWT_SECRET'],
    'the dispatcher': ['DATABASE_URL', 'DISPATCH_CONCURRENCY'],
  };
  for (const [which, options] of Object.entries(refusals)) {
    it(`does not start, and names what is wrong: ${which}`, async () => {
      const harness = await workersHarness(...options);
      const said = await harness.listen().then(
        () => '',
        (error) => String(error),
      );
      const output = said + JSON.stringify(harness.getLogs());
      await harness.close();
      for (const name of names[which as keyof typeof names]) assert.ok(output.includes(name), output);
      assert.doesNotMatch(output, /tooshort|pa55word/);
    });
  }
});

describe('Workers whose keys open nothing that is sealed', () => {
  it('are not ready, attempt nothing and say why', async () => {
    const workers = await startWorkers();
    const call = caller(() => workers);
    const hook = { url: 'https://example.com/', events: ['nothing.ever'] };
    const { json } = await call('POST', '/api/v1/webhook-endpoints', { body: hook });
    await untilReady(workers.url);

    const SECRETS_KEY = Buffer.alloc(32, 8).toString('base64');
    const others = await workersHarness({ ...workers.connection, SECRETS_KEY });
    try {
      const { url } = await others.listen();
      const callOther = caller(() => ({ url: url.href }));
      assert.equal((await callOther('GET', '/ready')).status, 503);
      const queued = await callOther('POST', `/api/v1/webhook-endpoints/${json.id}/test`);
      assert.equal(queued.status, 202);
      while (!/SECRETS_KEYS_OLD/.test(JSON.stringify(others.getLogs()))) await sleep(50);
      const [delivery] = await query(workers.database.name, 'select attempt from deliveries');
      assert.equal(delivery?.attempt, 0);
    } finally {
      await others.close();
      await workers.close();
    }
  });
});
