import { cors } from 'hono/cors';
import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';

const EXPOSED = [
  'ETag',
  'Idempotent-Replayed',
  'Link',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  'X-Request-Id',
];
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'];

/** CORS for the configured origins; there are none by default. */
export const crossOrigin = createMiddleware<Env>((c, next) => {
  const { corsOrigins } = c.env.settings;
  if (corsOrigins.length === 0) return next();
  // Hono treats every OPTIONS request as a preflight.
  if (c.req.method === 'OPTIONS' && !c.req.header('Access-Control-Request-Method')) return next();
  const origin = corsOrigins.includes('*') ? '*' : [...corsOrigins];
  return cors({ origin, allowMethods: METHODS, exposeHeaders: EXPOSED, maxAge: 600 })(c, next);
});
