import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';

function limiterOf(limit: number, windowS: number) {
  const clock = { ms: 1000 };
  return { clock, limiter: memoryLimiter(limit, windowS, () => clock.ms) };
}

describe('the limiter in memory', () => {
  test('allows as many as the limit in a window, and tells what remains and when it ends', async () => {
    const { clock, limiter } = limiterOf(2, 60);
    assert.deepEqual([limiter.limit, limiter.window], [2, 60]);
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 1, resetS: 60 });
    clock.ms += 15_000;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 0, resetS: 45 });
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(await limiter.take('a'), { allowed: false, remaining: 0, resetS: 45 });
    }
    clock.ms += 44_999;
    assert.equal((await limiter.take('a')).allowed, false);
    clock.ms += 1;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 1, resetS: 60 });
  });

  test('counts each key for itself', async () => {
    const { limiter } = limiterOf(1, 60);
    assert.equal((await limiter.take('a')).allowed, true);
    assert.equal((await limiter.take('b')).allowed, true);
    assert.equal((await limiter.take('a')).allowed, false);
    assert.equal((await limiter.take('__proto__')).allowed, true);
  });

  test('counts what another process let through, in the window that is open or a new one', async () => {
    const { clock, limiter } = limiterOf(10, 60);
    limiter.heard('a', 3);
    clock.ms += 1000;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 6, resetS: 59 });
    limiter.heard('a', 6);
    assert.equal((await limiter.take('a')).allowed, false);
    clock.ms += 59_000;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 9, resetS: 60 });
  });

  test('forgets the oldest keys rather than grow without bound', async () => {
    const { limiter } = limiterOf(1, 60);
    await limiter.take('oldest');
    for (let i = 1; i < 100_000; i++) await limiter.take(`k${i}`);
    assert.equal((await limiter.take('oldest')).allowed, false, 'it remembers a hundred thousand');
    await limiter.take('one more');
    assert.equal((await limiter.take('k99999')).allowed, false);
    assert.equal((await limiter.take('oldest')).allowed, true);
  });
});
