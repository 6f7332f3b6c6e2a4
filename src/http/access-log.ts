import { createMiddleware } from 'hono/factory';
import { routePath } from 'hono/route';
import type { Env } from './context.ts';

// traceparent (W3C Trace Context): version, trace id, parent id, flags.
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;

/** One `request` line and one measurement per request, whatever became of it. */
export const accessLog = createMiddleware<Env>(async (c, next) => {
  const { log, metrics } = c.env;
  const start = performance.now();
  c.set('traceId', TRACEPARENT.exec(c.req.header('traceparent') ?? '')?.[1] ?? newTraceId());
  metrics.requestStarted();
  try {
    await next();
  } finally {
    const durationMs = Math.round((performance.now() - start) * 1000) / 1000;
    const { method } = c.req;
    const { status } = c.res;
    metrics.requestFinished(method, status === 404 ? 'unmatched' : routePath(c, -1), status, durationMs / 1000);
    log.info('request', {
      requestId: c.get('requestId'),
      traceId: c.get('traceId'),
      method,
      path: withoutAddresses(c.req.path),
      status,
      durationMs,
      sub: withoutAddresses(c.get('principal')?.sub),
    });
  }
});

// Paths and subjects are the client's words: an email address in them stays out of the log.
function withoutAddresses<T extends string | undefined>(text: T): T | string {
  return text && /@|%40/i.test(text) ? text.replace(/[^/]*(?:@|%40)[^/]*/gi, '[redacted]') : text;
}

function newTraceId(): string {
  return crypto.randomUUID().replaceAll('-', '');
}
