import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';
import { deadlineExceeded, mayWrite, outcomeUnknown, problemResponse } from './problem.ts';

/** Milliseconds past the deadline that cancelled work gets to report its outcome, so that a 504 is never a lie. */
const GRACE_MS = 1500;

/**
 * Aborts the request's signal after `requestTimeoutMs`. The statement under way is cancelled on the server and its
 * outcome awaited: what was not written stays unwritten, and what had just been written is answered as such.
 */
export const deadline = createMiddleware<Env>(async (c, next) => {
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
    if (winner === 'out of grace') return problemResponse(c, mayWrite(c) ? outcomeUnknown() : deadlineExceeded());
  } finally {
    c.env.underWay.count--;
    // biome-ignore lint/style/noNonNullAssertion: the executor above has run
    clearTimeout(timer!);
  }
});
