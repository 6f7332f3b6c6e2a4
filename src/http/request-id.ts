import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';

const WELL_FORMED = /^[\w\-=.:]{1,255}$/;

/** Whether text may contain a token, a secret or an address, percent-encoded or not. */
export const mayContainSecret = (text: string): boolean => /[@%]|eyJ|whsec_|[Bb]earer/.test(text);

/** The client's X-Request-Id if it is well-formed and may be logged, otherwise a new id. */
export function requestIdOf(given: string | null | undefined): string {
  return given && WELL_FORMED.test(given) && !mayContainSecret(given) ? given : crypto.randomUUID();
}

/** Sets the request's id. */
export const requestId = createMiddleware<Env>((c, next) => {
  c.set('requestId', requestIdOf(c.req.header('X-Request-Id')));
  return next();
});
