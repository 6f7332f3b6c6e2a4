import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Hono } from 'hono';
import { app } from '../../src/app.ts';
import { type Db, DbError } from '../../src/db.ts';
import type { Env } from '../../src/http/context.ts';
import { deadline } from '../../src/http/deadline.ts';
import { onError } from '../../src/http/problem.ts';
import { recordingLog, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const { settings } = testDeps();
const soon = { settings: { ...settings, requestTimeoutMs: 50 } };

const create = (db: Db) => {
  const body = JSON.stringify({ email: 'someone@example.com', name: 'Someone' });
  return app.request('/api/v1/users', { method: 'POST', headers: headers(), body }, testDeps({ ...soon, db }));
};

/** A database that does `then` once the deadline has passed. */
const afterAbort = (then: (values: Record<string, unknown>) => unknown): Db => ({
  run: async (_, values, signal) => {
    await once(signal as AbortSignal, 'abort');
    return then(values as Record<string, unknown>) as never[];
  },
});

describe('past the deadline', () => {
  test('a statement that was cancelled is a 504', async () => {
    const response = await create(
      afterAbort(() => {
        throw new DbError('canceled', 'canceled by the caller', { sqlState: '57014' });
      }),
    );
    assert.equal(response.status, 504);
    assert.equal(response.headers.get('content-type'), 'application/problem+json');
    assert.match(((await response.json()) as { type: string }).type, /\/problems\/timeout$/);
  });

  test('a statement that broke while it was being cancelled is a 504 too', async () => {
    const response = await create(
      afterAbort(() => {
        throw new DbError('unavailable', 'cannot reach the database: ECONNRESET');
      }),
    );
    assert.equal(response.status, 504);
  });

  test('a statement that had just taken effect is answered as what it is', async () => {
    const response = await create(
      afterAbort(({ keyFingerprint, keyResponse }) => [
        { fresh: true, fingerprint: keyFingerprint, response: keyResponse },
      ]),
    );
    assert.equal(response.status, 201);
    assert.equal(((await response.json()) as { email: string }).email, 'someone@example.com');
  });

  test('a handler that pays no heed is answered for', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const log = recordingLog();
    const stubborn = new Hono<Env>();
    stubborn.onError(onError);
    stubborn.use(deadline);
    let signal: AbortSignal | undefined;
    stubborn.get('/', (c) => {
      signal = c.get('signal');
      return new Promise(() => {});
    });
    const answer = stubborn.request('/', {}, testDeps({ log })) as Promise<Response>;
    t.mock.timers.tick(4999);
    assert.equal(signal?.aborted, false);
    t.mock.timers.tick(1);
    assert.equal(signal?.aborted, true);
    t.mock.timers.tick(1500);
    assert.equal((await answer).status, 504);
    assert.deepEqual(log.lines, []);
  });

  test('nothing is left behind by a request that was in time', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const quick = new Hono<Env>();
    quick.use(deadline);
    let signal: AbortSignal | undefined;
    quick.get('/', (c) => {
      signal = c.get('signal');
      return c.text('done');
    });
    assert.equal((await quick.request('/', {}, testDeps())).status, 200);
    t.mock.timers.tick(60_000);
    assert.equal(signal?.aborted, false);
  });
});
