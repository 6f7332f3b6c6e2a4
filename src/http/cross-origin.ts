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
  'X-Request-Id',
];

/** CORS for the configured origins; there are none by default. */
export const crossOrigin = createMiddleware<Env>((c, next) => {
  const { corsOrigins } = c.env.settings;
  if (corsOrigins.length === 0) return next();
  return cors({ origin: corsOrigins.includes('*') ? '*' : [...corsOrigins], exposeHeaders: EXPOSED, maxAge: 600 })(
    c,
    next,
  );
});
