import type { Limiter } from '../deps.ts';

/** Keys remembered at most; past it the oldest is forgotten. */
const MAX_KEYS = 10_000;

/** Cloudflare's rate-limit binding: counts per location, tells neither what remains nor when. */
export type RateLimitBinding = { limit(options: { key: string }): Promise<{ success: boolean }> };

/**
 * The binding as a Limiter; `limit` and `windowS` repeat what it is configured with. It cannot be asked without taking,
 * so that `spent` knows only the keys that this isolate saw refused, and for at most one window.
 */
export function workersLimiter(
  binding: RateLimitBinding,
  limit: number,
  windowS: number,
  now: () => number = () => performance.now(),
): Limiter {
  const refusedUntil = new Map<string, number>();

  function remember(key: string): void {
    if (refusedUntil.size >= MAX_KEYS) refusedUntil.delete(refusedUntil.keys().next().value as string);
    refusedUntil.set(key, now() + windowS * 1000);
  }

  return {
    limit,
    window: windowS,
    async take(key) {
      const { success } = await binding.limit({ key }).catch(() => ({ success: true }));
      // Subjects are counted at every request, and never asked about: only addresses are worth remembering.
      if (!success && key.startsWith('address:')) remember(key);
      return { allowed: success };
    },
    async spent(key) {
      const until = refusedUntil.get(key);
      if (until === undefined) return undefined;
      if (until > now()) return { allowed: false };
      refusedUntil.delete(key);
      return undefined;
    },
  };
}
