import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';
import { type Policy, policyOf } from './rate-limit.ts';

/** For data, which must not be framed, sniffed or run as a page. A page sets its own policy. */
const SECURITY = {
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Strict-Transport-Security': 'max-age=63072000; includeSubDomains',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};

/** Security headers, RateLimit-Policy and X-Request-Id: every response has them. */
export const standardHeadersOf = (policy: Policy, requestId: string) => ({
  ...SECURITY,
  'RateLimit-Policy': policyOf(policy),
  'X-Request-Id': requestId,
});

/** Sets them, except those that the answer sets itself. */
export const standardHeaders = createMiddleware<Env>(async (c, next) => {
  const headers = standardHeadersOf(c.env.limiter, c.get('requestId'));
  c.set('headers', headers);
  await next();
  if (c.res === c.get('answer')) return;
  for (const [name, value] of Object.entries(headers)) if (!c.res.headers.has(name)) c.res.headers.set(name, value);
});
