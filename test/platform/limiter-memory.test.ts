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
    limiter.addRemote('a', 3);
    clock.ms += 1000;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 6, resetS: 59 });
    limiter.addRemote('a', 6);
    assert.equal((await limiter.take('a')).allowed, false);
    clock.ms += 59_000;
    assert.deepEqual(await limiter.take('a'), { allowed: true, remaining: 9, resetS: 60 });
  });

  test('does not free a used-up key for 100,000 others, or for a million', async () => {
    const { clock, limiter } = limiterOf(2, 60);
    for (const kind of ['sub', 'address']) {
      const usedUp = `${kind}:used-up`;
      for (let i = 0; i < 2; i++) assert.equal((await limiter.take(usedUp)).allowed, true);
      for (const many of [100_000, 1_000_000]) {
        for (let i = 0; i < many; i++) limiter.take(`${kind}:${many}-${i}`);
        assert.equal((await limiter.take(usedUp)).allowed, false, `${many} other keys`);
      }
    }
    clock.ms += 60_000;
    assert.equal((await limiter.take('sub:used-up')).remaining, 1);
  });

  test('does not free a key that came when there was no room any more, not even once there is', async () => {
    const { clock, limiter } = limiterOf(2, 60);
    for (let i = 0; i < 100_000; i++) limiter.take(`sub:${i}`);
    clock.ms += 59_000;
    for (let i = 0; i < 3; i++) await limiter.take('sub:late');
    assert.deepEqual(await limiter.take('sub:late'), { allowed: false, remaining: 0, resetS: 60 });
    clock.ms += 1000;
    assert.equal((await limiter.take('sub:0')).remaining, 1, 'there is room again');
    assert.deepEqual(await limiter.take('sub:late'), { allowed: false, remaining: 0, resetS: 59 });
    clock.ms += 59_000;
    assert.equal((await limiter.take('sub:late')).remaining, 1);
  });

  test('counts a bounded number of keys, each by itself as long as there is room', async () => {
    const { limiter } = limiterOf(1, 60);
    let refused = 0;
    for (let i = 0; i < 100_000; i++) if (!(await limiter.take(`sub:${i}`)).allowed) refused++;
    assert.equal(refused, 0);
    for (let i = 0; i < 200_000; i++) if ((await limiter.take(`sub:more-${i}`)).allowed) refused++;
    assert.ok(refused > 50_000 && refused <= 65_536, `${refused} windows for those beyond`);
  });

  test('has room for whoever has a token, however many addresses there are that have none', async () => {
    const { limiter } = limiterOf(1, 60);
    for (let i = 0; i < 300_000; i++) limiter.take(`address:${i}`);
    for (let i = 0; i < 1000; i++) assert.equal((await limiter.take(`sub:${i}`)).allowed, true);
  });
});
