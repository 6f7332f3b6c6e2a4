import type { Limiter } from '../deps.ts';

/** Cloudflare's rate-limit binding. It counts per location, and reports neither the remaining quota nor the reset. */
export type RateLimitBinding = { limit(options: { key: string }): Promise<{ success: boolean }> };

/** Wraps the binding as a Limiter. `limit` and `windowS` repeat its configuration. */
export function workersLimiter(binding: RateLimitBinding, limit: number, windowS: number): Limiter {
  return {
    limit,
    window: windowS,
    async take(key) {
      const { success } = await binding.limit({ key }).catch(() => ({ success: true }));
      return { allowed: success };
    },
  };
}
