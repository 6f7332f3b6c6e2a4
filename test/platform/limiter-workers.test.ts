import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { workersLimiter } from '../../src/platform/limiter-workers.ts';

describe('the limiter on the binding', () => {
  it('says what the binding says, and never invents what remains', async () => {
    for (const success of [true, false]) {
      const limiter = workersLimiter({ limit: async () => ({ success }) }, 600, 60);
      assert.deepEqual(await limiter.take('sub:a'), { allowed: success });
    }
  });

  it('lets requests pass when the binding fails', async () => {
    const limiter = workersLimiter({ limit: () => Promise.reject(new Error('away')) }, 600, 60);
    assert.deepEqual(await limiter.take('address:a'), { allowed: true });
  });
});
