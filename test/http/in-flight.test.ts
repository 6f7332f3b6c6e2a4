import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

describe('while more is under way than there is room for', () => {
  test('requests are told when to come again, and probes are answered', async () => {
    const deps = testDeps({ inFlight: { count: 5000 } });
    for (const path of ['/api/v1/webhook-endpoints', '/openapi.json', '/docs', '/nowhere']) {
      const response = await app.request(path, { headers: headers() }, deps);
      assert.equal(response.status, 503, path);
      assert.equal(response.headers.get('retry-after'), '1');
      const { type, detail } = (await response.json()) as { type: string; detail: string };
      assert.match(type, /\/problems\/unavailable$/);
      assert.equal(detail, 'Too many requests are in progress.');
    }
    assert.equal((await app.request('/health', {}, deps)).status, 200);
    // It queries the database, which is down in this test.
    const ready = (await (await app.request('/ready', {}, deps)).json()) as { detail: string };
    assert.equal(ready.detail, 'The database is unavailable.');
  });

  test('a request is under way until it is answered, whatever the answer', async () => {
    const deps = testDeps();
    for (const path of ['/health', '/ready', '/api/v1/webhook-endpoints', '/nowhere']) {
      const answer = app.request(path, { headers: headers() }, deps);
      assert.equal(deps.inFlight.count, 1, path);
      await answer;
      assert.equal(deps.inFlight.count, 0, path);
    }
  });
});
