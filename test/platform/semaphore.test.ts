import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DbError } from '../../src/db.ts';
import { createSemaphore } from '../../src/platform/semaphore.ts';

const never = new AbortController().signal;

test('so many works run at a time, and the others in their order, whatever becomes of those before', async () => {
  const { run } = createSemaphore(() => 2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const works = [0, 1, 2, 3, 4].map((n) =>
    run(() => {
      begun.push(n);
      return new Promise<number>((resolve, reject) => {
        ends[n] = () => (n === 1 ? reject(new Error('failed')) : resolve(n));
      });
    }, never).catch(() => -1),
  );
  const settled = () => new Promise(setImmediate);
  await settled();
  assert.deepEqual(begun, [0, 1]);
  ends[1]?.();
  await settled();
  assert.deepEqual(begun, [0, 1, 2]);
  ends[0]?.();
  ends[2]?.();
  await settled();
  assert.deepEqual(begun, [0, 1, 2, 3, 4]);
  ends[3]?.();
  ends[4]?.();
  assert.deepEqual(await Promise.all(works), [0, -1, 2, 3, 4]);
  assert.equal(await run(async () => 5, never), 5);
});

test('whoever waits no longer is canceled, and takes no place', async () => {
  const { run } = createSemaphore(() => 1);
  const first = Promise.withResolvers<void>();
  const running = run(() => first.promise, never);
  const controller = new AbortController();
  const waiting = run(() => assert.fail('must not run'), controller.signal);
  const last = run(async () => 'last', never);
  controller.abort();
  await assert.rejects(waiting, (error) => error instanceof DbError && error.failure === 'canceled');
  await assert.rejects(
    run(() => assert.fail('must not run'), AbortSignal.abort()),
    DbError,
  );
  first.resolve();
  await running;
  assert.equal(await last, 'last');
});
