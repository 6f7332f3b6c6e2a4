import { createMiddleware } from 'hono/factory';
import { matchedRoutes, routePath } from 'hono/route';
import type { Env } from './context.ts';
import { mayTellASecret } from './request-id.ts';

// traceparent (W3C Trace Context): version, trace id, parent id, flags.
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}/;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** One `request` log line, one measurement and, if traces are exported, one span per request, successful or not. */
export const accessLog = createMiddleware<Env>(async (c, next) => {
  const { log, metrics, trace } = c.env;
  const start = performance.now();
  const [, parentTrace, parentId] = TRACEPARENT.exec(c.req.header('traceparent') ?? '') ?? [];
  const traceId = parentTrace ?? traceIdOf(c.get('requestId'));
  c.set('traceId', traceId);
  metrics.requestStarted();
  try {
    await next();
  } finally {
    const durationMs = Math.round((performance.now() - start) * 1000) / 1000;
    const method = METHODS.has(c.req.method) ? c.req.method : '_OTHER';
    const { status } = c.res;
    const matched = status !== 404 || matchedRoutes(c).some((route) => route.method !== 'ALL');
    const route = matched ? routePath(c, -1) : 'unmatched';
    metrics.requestFinished(method, route, status, durationMs / 1000);
    trace?.({
      traceId,
      spanId: digitsOf(crypto.randomUUID()).slice(16),
      parentId,
      name: `${method} ${route}`,
      startMs: c.env.now().getTime() - durationMs,
      durationMs,
      status,
      attributes: { 'http.request.method': method, 'http.route': route, 'keelson.request_id': c.get('requestId') },
    });
    log.info('request', {
      requestId: c.get('requestId'),
      traceId,
      method,
      path: loggedPath(c.req.path),
      status,
      durationMs,
      sub: loggedSub(c.get('principal')?.sub),
    });
  }
});

// Some runtimes accept any method, and each would be a new series in the metrics.
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

// The segments of a path that are logged: lower-case words, numbers and ids. Any other may be a token, a secret or an
// address in some encoding.
const SEGMENT = /^(?:[a-z.-]{0,32}|v?\d{1,9}|[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12})$/;

// The same for a whole path: four times as fast.
const PATH = /^(?:\/(?:[a-z.-]{0,32}|v?\d{1,9}|[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}))*$/;

function loggedPath(path: string): string {
  if (PATH.test(path)) return path;
  return path
    .split('/')
    .map((segment) => (SEGMENT.test(segment) ? segment : REDACTED))
    .join('/');
}

// The issuer chooses subjects: they may be anything.
function loggedSub(sub: string | undefined): string | undefined {
  return sub !== undefined && mayTellASecret(sub) ? REDACTED : sub;
}

const REDACTED = '[redacted]';

// A trace that starts here has the digits of the request id if that is a UUID.
const traceIdOf = (requestId: string) => digitsOf(UUID.test(requestId) ? requestId : crypto.randomUUID());

/** The 32 digits of a UUID. `replaceAll` takes five times as long. */
function digitsOf(uuid: string): string {
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24);
}
