import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';

/** For answers that are data: nothing here may be framed, sniffed, or run as a page. A page sets its own policy. */
export const securityHeaders = createMiddleware<Env>(async (c, next) => {
  c.header('Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'");
  c.header('X-Content-Type-Options', 'nosniff');
  c.header('Referrer-Policy', 'no-referrer');
  c.header('Strict-Transport-Security', 'max-age=63072000; includeSubDomains');
  c.header('Cross-Origin-Resource-Policy', 'same-origin');
  c.header('Cache-Control', 'no-store');
  await next();
});
