import { createMiddleware } from 'hono/factory';
import type { Limiter, Quota } from '../deps.ts';
import { AppError } from '../errors.ts';
import { setHeader } from './answer.ts';
import type { Ctx, Env } from './context.ts';

/** Takes one request from the subject's quota (RateLimit header fields, draft 10). Throws AppError `rate-limited`. */
export const rateLimit = createMiddleware<Env>(async (c, next) => {
  const quota = await c.env.limiter.take(`sub:${c.get('principal').sub}`);
  if (!quota.allowed) throw refuse(c, quota);
  setQuota(c, quota);
  await next();
});

/** The error for a used-up quota. */
export function refuse(c: Ctx, quota: Quota): AppError {
  setQuota(c, quota);
  const retryAfter = Math.ceil(quota.resetS ?? c.env.limiter.window);
  return new AppError('rate-limited', `Too many requests. Retry after ${retryAfter} s.`, {
    headers: { 'Retry-After': String(retryAfter) },
  });
}

/** Sets RateLimit, if the limiter knows what remains. */
export function setQuota(c: Ctx, { remaining, resetS }: Quota): void {
  if (remaining !== undefined && resetS !== undefined) {
    setHeader(c, 'RateLimit', `"default";r=${remaining};t=${Math.ceil(resetS)}`);
  }
}

/** The value of RateLimit-Policy. */
export function policyOf({ limit, window }: Limiter): string {
  return `"default";q=${limit};w=${window}`;
}
