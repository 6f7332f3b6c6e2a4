import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

test('dispatchers are told of a changed endpoint by the id that they know it by, however the path has it', async () => {
  const id = '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const rung: unknown[] = [];
  const rows: object[] = [{ _found: true, id, version: 2 }];
  const db = { ...noDb, run: async () => rows as never[] };
  const deps = testDeps({ db, wake: (changed) => void rung.push(changed) });
  const path = `/api/v1/webhook-endpoints/${id.toUpperCase()}`;
  const body = JSON.stringify({ url: 'http://127.0.0.1/', events: ['*'] });
  assert.equal((await app.request(path, { method: 'PUT', headers: headers(), body }, deps)).status, 200);
  assert.equal((await app.request(path, { method: 'DELETE', headers: headers() }, deps)).status, 204);
  const answer = { status: 200, headers: {}, body: { secret: await deps.secrets.seal('whsec_x') } };
  rows[0] = { found: true, fresh: true, same: true, response: JSON.stringify(answer) };
  const rotation = { method: 'POST', headers: headers() };
  assert.equal((await app.request(`${path}/rotate-secret`, rotation, deps)).status, 200);
  assert.deepEqual(rung, [id, id, id]);
});
