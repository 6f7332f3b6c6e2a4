import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workersLimiter } from '../../src/platform/limiter-workers.ts';

describe('the limiter on the binding', () => {
  it('remembers a refused address for a window, and never invents what remains', async () => {
    let time = 0;
    let success = false;
    const limiter = workersLimiter({ limit: async () => ({ success }) }, 600, 60, () => time);
    assert.deepEqual(await limiter.take('sub:a'), { allowed: false });
    assert.equal(await limiter.spent('sub:a'), undefined);
    assert.equal(await limiter.spent('address:a'), undefined);
    assert.deepEqual(await limiter.take('address:a'), { allowed: false });
    assert.deepEqual(await limiter.spent('address:a'), { allowed: false });
    time = 60_000;
    success = true;
    assert.equal(await limiter.spent('address:a'), undefined);
    assert.deepEqual(await limiter.take('address:a'), { allowed: true });
  });

  it('lets requests pass when the binding fails', async () => {
    const limiter = workersLimiter({ limit: () => Promise.reject(new Error('away')) }, 600, 60);
    assert.deepEqual(await limiter.take('address:a'), { allowed: true });
  });
});
