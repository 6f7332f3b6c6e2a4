import { createMiddleware } from 'hono/factory';
import { routePath } from 'hono/route';
import { carrying, formatTraceparent, parseTraceparent } from '../trace-context.ts';
import type { RequestSpan } from '../tracing.ts';
import type { Ctx, Env } from './context.ts';
import { routeOf } from './known-routes.ts';
import { mayContainSecret } from './request-id.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** One `request` log line, one measurement and, if traces are recorded, one span per request, successful or not. */
export const accessLog = createMiddleware<Env>(async (c, next) => {
  const { log, metrics } = c.env;
  const start = performance.now();
  const method = METHODS.has(c.req.method) ? c.req.method : '_OTHER';
  const span = beginTrace(c, method);
  metrics.requestStarted();
  try {
    await next();
  } finally {
    const durationMs = Math.round((performance.now() - start) * 1000) / 1000;
    const { status } = c.res;
    const route = c.get('route') ?? routeOf(c) ?? (status !== 404 ? routePath(c, -1) : undefined);
    metrics.requestFinished(method, route ?? 'unmatched', status, durationMs / 1000);
    span?.end(route, status);
    log.info('request', {
      requestId: c.get('requestId'),
      traceId: c.get('traceId'),
      method,
      path: loggedPath(c.req.path),
      status,
      durationMs,
      sub: loggedSub(c.get('principal')?.sub),
    });
  }
});

/**
 * Continues the client's trace, or starts one, and has the database store it with the messages that the request
 * enqueues. If traces are not recorded, the client's own `traceparent` is stored.
 */
function beginTrace(c: Ctx, method: string): RequestSpan | undefined {
  const { tracing, db } = c.env;
  const requestId = c.get('requestId');
  const parent = parseTraceparent(c.req.header('traceparent'));
  if (!tracing) {
    c.set('traceId', parent?.traceId ?? traceIdOf(requestId));
    if (parent) c.env = { ...c.env, db: carrying(db, formatTraceparent(parent)) };
    return undefined;
  }
  const tracestate = c.req.header('tracestate');
  const span = tracing.request({
    method,
    path: loggedPath(c.req.path),
    scheme: c.req.url.slice(0, c.req.url.indexOf(':')),
    requestId,
    parent,
    tracestate: tracestate !== undefined && mayContainSecret(tracestate) ? undefined : tracestate,
  });
  c.set('traceId', span.traceId);
  c.env = { ...c.env, db: span.db(db) };
  return span;
}

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
  return sub !== undefined && mayContainSecret(sub) ? REDACTED : sub;
}

const REDACTED = '[redacted]';

// A trace that starts here has the digits of the request id if that is a UUID.
const traceIdOf = (requestId: string) => digitsOf(UUID.test(requestId) ? requestId : crypto.randomUUID());

/** The 32 digits of a UUID. `replaceAll` takes five times as long. */
function digitsOf(uuid: string): string {
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24);
}
