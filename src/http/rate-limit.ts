import { createMiddleware } from 'hono/factory';
import type { Limiter } from '../deps.ts';
import { AppError } from '../errors.ts';
import { setHeader } from './answer.ts';
import type { Ctx, Env } from './context.ts';

/** Takes one request from the subject's quota. Throws AppError `rate-limited`. */
export const rateLimit = createMiddleware<Env>(async (c, next) => {
  await takeQuota(c, `sub:${c.get('principal').sub}`);
  await next();
});

/**
 * Takes one request from the quota of `key`, and sets RateLimit if the limiter knows what remains (RateLimit header
 * fields, draft 10). Throws AppError `rate-limited`.
 */
export async function takeQuota(c: Ctx, key: string): Promise<void> {
  const { limiter } = c.env;
  const { allowed, remaining, resetS } = await limiter.take(key);
  if (remaining !== undefined && resetS !== undefined) {
    setHeader(c, 'RateLimit', `"default";r=${remaining};t=${Math.ceil(resetS)}`);
  }
  if (allowed) return;
  const retryAfter = Math.ceil(resetS ?? limiter.window);
  throw new AppError('rate-limited', `Too many requests. Retry after ${retryAfter} s.`, {
    headers: { 'Retry-After': String(retryAfter) },
  });
}

/** The value of RateLimit-Policy. */
export function policyOf({ limit, window }: Limiter): string {
  return `"default";q=${limit};w=${window}`;
}
