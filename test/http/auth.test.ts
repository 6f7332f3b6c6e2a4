import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

test('guessing tokens is refused after a while, and a good token behind the same address never for it', async () => {
  const db = { ...noDb, run: async () => [] };
  const deps = testDeps({ limiter: memoryLimiter(3, 60), db });
  const guess = () => app.request('/api/v1/webhook-endpoints', { headers: { Authorization: 'Bearer wrong' } }, deps);
  const statuses: number[] = [];
  for (let i = 0; i < 5; i++) statuses.push((await guess()).status);
  assert.deepEqual(statuses, [401, 401, 401, 429, 429]);
  assert.equal((await app.request('/api/v1/webhook-endpoints', { headers: headers() }, deps)).status, 200);
});
