import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';
import { deadlineExceeded, mayWrite, outcomeUnknown, problemResponse } from './problem.ts';

/** Milliseconds past the deadline that cancelled work gets to report its outcome, so that a 504 is never a lie. */
const GRACE_MS = 1500;
/** Requests under way at a time in a process; more of them would only wait for the same database. */
const UNDER_WAY_MAX = 5000;
/** What a supervisor and a load balancer ask, which is answered however much is under way. */
const PROBES = new Set(['/health', '/ready']);

/**
 * Refuses what there is no room for, and aborts the request's signal after `requestTimeoutMs`. The statement under way is
 * cancelled on the server and its outcome awaited: what was not written stays unwritten, and what had just been written
 * is answered as such.
 */
export const deadline = createMiddleware<Env>(async (c, next) => {
  if (c.env.underWay.count >= UNDER_WAY_MAX && !PROBES.has(c.req.path)) {
    throw new AppError('unavailable', 'Too many requests are under way.', { headers: { 'Retry-After': '1' } });
  }
  const controller = new AbortController();
  c.set('signal', controller.signal);
  let timer: ReturnType<typeof setTimeout>;
  const outOfGrace = new Promise<'out of grace'>((resolve) => {
    timer = setTimeout(() => {
      controller.abort(deadlineExceeded());
      timer = setTimeout(resolve, GRACE_MS, 'out of grace');
    }, c.env.settings.requestTimeoutMs);
  });
  c.env.underWay.count++;
  try {
    const winner = await Promise.race([next(), outOfGrace]);
    if (winner === 'out of grace') return problemResponse(c, mayWrite(c) ? outcomeUnknown(c) : deadlineExceeded());
  } finally {
    c.env.underWay.count--;
    // biome-ignore lint/style/noNonNullAssertion: the executor above has run
    clearTimeout(timer!);
  }
});
