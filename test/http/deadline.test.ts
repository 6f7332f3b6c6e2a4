import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { Hono } from 'hono';
import { app } from '../../src/app.ts';
import { type Db, DbError } from '../../src/db.ts';
import type { Env } from '../../src/http/context.ts';
import { deadline } from '../../src/http/deadline.ts';
import { onError } from '../../src/http/problem.ts';
import { noDb, recordingLog, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const create = (db: Db) => {
  const body = JSON.stringify({ url: 'https://example.com/', events: ['nothing.ever'] });
  return app.request('/api/v1/webhook-endpoints', { method: 'POST', headers: headers(), body }, testDeps({ db }));
};

/** A database on which the deadline passes while a statement runs, which then does `then`. */
function afterAbort(t: TestContext, then: (values: Record<string, unknown>) => unknown): Db {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  return {
    ...noDb,
    run: async (_, values, signal) => {
      const aborted = once(signal, 'abort');
      t.mock.timers.tick(testDeps().settings.requestTimeoutMs);
      await aborted;
      return then(values as Record<string, unknown>) as never[];
    },
  };
}

describe('past the deadline', () => {
  test('a statement that was canceled is a 504', async (t) => {
    const response = await create(
      afterAbort(t, () => {
        throw new DbError('canceled', 'canceled by the caller', { sqlState: '57014' });
      }),
    );
    assert.equal(response.status, 504);
    assert.equal(response.headers.get('content-type'), 'application/problem+json');
    assert.match(((await response.json()) as { type: string }).type, /\/problems\/timeout$/);
  });

  test('a statement that broke while it was being canceled is a 504 too', async (t) => {
    const response = await create(
      afterAbort(t, () => {
        throw new DbError('unavailable', 'cannot reach the database: ECONNRESET');
      }),
    );
    assert.equal(response.status, 504);
  });

  test('a write of which nobody knows whether it took effect is a 504 that says so', async (t) => {
    const response = await create(
      afterAbort(t, () => {
        throw new DbError('unknown', 'no answer to the statement');
      }),
    );
    assert.equal(response.status, 504);
    assert.match(((await response.json()) as { type: string }).type, /\/problems\/outcome-unknown$/);
  });

  test('a read that got no answer is a plain 504: it changed nothing', async (t) => {
    const db = afterAbort(t, () => {
      throw new DbError('unknown', 'no answer to the statement');
    });
    const response = await app.request('/api/v1/webhook-endpoints', { headers: headers() }, testDeps({ db }));
    assert.equal(response.status, 504);
    assert.match(((await response.json()) as { type: string }).type, /\/problems\/timeout$/);
  });

  test('a statement that had just taken effect is answered as what it is', async (t) => {
    const response = await create(
      afterAbort(t, ({ keyResponse }) => [{ fresh: true, same: true, response: keyResponse }]),
    );
    assert.equal(response.status, 201);
    assert.equal(((await response.json()) as { url: string }).url, 'https://example.com/');
  });

  for (const [method, problem] of [
    ['GET', 'timeout'],
    ['POST', 'outcome-unknown'],
  ] as const)
    test(`a handler of a ${method} that pays no heed is answered for`, async (t) => {
      t.mock.timers.enable({ apis: ['setTimeout'] });
      const log = recordingLog();
      const stubborn = new Hono<Env>();
      stubborn.onError(onError(() => ({})));
      stubborn.use(deadline);
      let signal: AbortSignal | undefined;
      stubborn.on(method, '/', (c) => {
        signal = c.get('signal');
        return new Promise(() => {});
      });
      const answer = stubborn.request('/', { method }, testDeps({ log })) as Promise<Response>;
      t.mock.timers.tick(4999);
      assert.equal(signal?.aborted, false);
      t.mock.timers.tick(1);
      assert.equal(signal?.aborted, true);
      t.mock.timers.tick(1500);
      assert.equal((await answer).status, 504);
      assert.ok(((await (await answer).json()) as { type: string }).type.endsWith(`/problems/${problem}`));
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
