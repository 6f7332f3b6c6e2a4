import type { Limiter } from '../deps.ts';

/** Cloudflare's rate-limit binding: counts per location, tells neither what remains nor when. */
export type RateLimitBinding = { limit(options: { key: string }): Promise<{ success: boolean }> };

/** The binding as a Limiter; `limit` and `windowS` repeat what it is configured with. */
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
