import { createMiddleware } from 'hono/factory';
import type { Limiter, Quota } from '../deps.ts';
import { AppError } from '../errors.ts';
import { setHeader } from './answer.ts';
import type { Ctx, Env } from './context.ts';

/** Takes one request from the subject's quota. Throws AppError `rate-limited`. */
export const rateLimit = createMiddleware<Env>(async (c, next) => {
  applyQuota(c, await c.env.limiter.take(`sub:${c.get('principal').sub}`));
  await next();
});

/**
 * Sets RateLimit if the limiter knows what remains of a quota (RateLimit header fields, draft 10). Throws AppError
 * `rate-limited` if the request is not allowed.
 */
export function applyQuota(c: Ctx, { allowed, remaining, resetS }: Quota): void {
  if (remaining !== undefined && resetS !== undefined) {
    setHeader(c, 'RateLimit', `"default";r=${remaining};t=${Math.ceil(resetS)}`);
  }
  if (allowed) return;
  const retryAfter = Math.ceil(resetS ?? c.env.limiter.window);
  throw new AppError('rate-limited', `Too many requests. Retry after ${retryAfter} s.`, {
    headers: { 'Retry-After': String(retryAfter) },
  });
}

export type Policy = Pick<Limiter, 'limit' | 'window'>;

/** The value of RateLimit-Policy. */
export function policyOf({ limit, window }: Policy): string {
  return `"default";q=${limit};w=${window}`;
}
