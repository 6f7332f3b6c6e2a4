import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';

const ORIGIN = 'https://app.example.com';

describe('cross-origin requests', () => {
  const ask = (corsOrigins: string[], path: string, own: Record<string, string>, method = 'OPTIONS') => {
    const { settings } = testDeps();
    return app.request(path, { method, headers: own }, testDeps({ settings: { ...settings, corsOrigins } }));
  };
  const preflight = { Origin: ORIGIN, 'Access-Control-Request-Method': 'PUT' };

  test('are allowed to the origins that are named, with the methods and headers that there are', async () => {
    const allowed = await ask([ORIGIN], '/api/v1/webhook-endpoints', preflight);
    assert.equal(allowed.status, 204);
    assert.equal(allowed.headers.get('access-control-allow-origin'), ORIGIN);
    assert.equal(allowed.headers.get('access-control-allow-methods'), 'GET,HEAD,POST,PUT,DELETE');
    const answer = await ask([ORIGIN], '/api/v1/webhook-endpoints', { Origin: ORIGIN }, 'GET');
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('access-control-allow-origin'), ORIGIN);
    assert.match(answer.headers.get('access-control-expose-headers') ?? '', /\bWWW-Authenticate\b/);
  });

  test('are not allowed to others, nor to anybody where no origin is named', async () => {
    for (const origins of [[], ['https://other.example.com']]) {
      const { headers } = await ask(origins, '/api/v1/webhook-endpoints', preflight);
      assert.equal(headers.get('access-control-allow-origin'), null);
    }
  });

  test('change nothing of an OPTIONS that is no preflight', async () => {
    assert.equal((await ask([ORIGIN], '/api/v1/nope', {})).status, 404);
    const wrong = await ask([ORIGIN], '/health', { Origin: ORIGIN });
    assert.equal(wrong.status, 405);
    assert.match(wrong.headers.get('allow') ?? '', /GET/);
  });
});
