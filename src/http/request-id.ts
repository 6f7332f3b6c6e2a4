import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';

const WELL_FORMED = /^[\w\-=]{1,255}$/;

/** The client's name for the request if it is well-formed, else a new one. */
export const requestId = createMiddleware<Env>((c, next) => {
  const given = c.req.header('X-Request-Id');
  c.set('requestId', given !== undefined && WELL_FORMED.test(given) ? given : crypto.randomUUID());
  return next();
});
