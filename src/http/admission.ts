import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';

/** Requests under way at a time in a process; more of them would only wait for the same database. */
const UNDER_WAY_MAX = 5000;
/** What a supervisor and a load balancer ask, which is answered however much is under way. */
const PROBES = new Set(['/health', '/ready']);

/**
 * Refuses what two readers could take for two different requests (RFC 9112, sections 3.2 and 6.1), and all but the
 * probes while too much is under way.
 */
export const admission = createMiddleware<Env>((c, next) => {
  // Two Host headers come as one list, which no host name is.
  if (c.req.header('Host')?.includes(',')) throw new AppError('malformed-request', 'There is more than one Host.');
  const coding = c.req.header('Transfer-Encoding');
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new AppError('malformed-request', 'The only Transfer-Encoding that is understood is chunked.');
  }
  if (c.env.underWay.count >= UNDER_WAY_MAX && !PROBES.has(c.req.path)) {
    throw new AppError('unavailable', 'Too many requests are under way.', { headers: { 'Retry-After': '1' } });
  }
  return next();
});
