import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';
import { deadlineExceeded, mayWrite, outcomeUnknown, problemResponse } from './problem.ts';

/** Milliseconds after the deadline for canceled work to report its outcome, so that a 504 is always accurate. */
const GRACE_MS = 1500;
/** The maximum number of concurrent requests in a process. More would only wait for the same database. */
const MAX_IN_FLIGHT = 5000;
/** Probes of supervisors and load balancers are exempt from the maximum, and are never queued. */
export const PROBES = new Set(['/health', '/ready']);

/**
 * Refuses requests over the maximum, and aborts the request's signal after `requestTimeoutMs`. The running statement is
 * canceled on the server and its outcome awaited: if it had already taken effect, the response says so.
 */
export const deadline = createMiddleware<Env>(async (c, next) => {
  const { inFlight, settings } = c.env;
  if (inFlight.count >= MAX_IN_FLIGHT && !PROBES.has(c.req.path)) {
    throw new AppError('unavailable', 'Too many requests are in progress.', { headers: { 'Retry-After': '1' } });
  }
  const controller = new AbortController();
  c.set('signal', controller.signal);
  // Promise.race would create several more promises.
  const ended = Promise.withResolvers<'in time' | 'out of grace'>();
  let timer = setTimeout(() => {
    controller.abort(deadlineExceeded());
    timer = setTimeout(ended.resolve, GRACE_MS, 'out of grace');
  }, settings.requestTimeoutMs);
  inFlight.count++;
  try {
    next().then(() => ended.resolve('in time'), ended.reject);
    const how = await ended.promise;
    if (how === 'out of grace') return problemResponse(c, mayWrite(c) ? outcomeUnknown(c) : deadlineExceeded());
  } finally {
    inFlight.count--;
    clearTimeout(timer);
  }
});
