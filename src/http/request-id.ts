import { createMiddleware } from 'hono/factory';
import type { Env } from './context.ts';

const WELL_FORMED = /^[\w\-=]{1,255}$/;

/** Whether text is what tokens, secrets and addresses look like, percent-encoded ones included. */
export const mayTellASecret = (text: string): boolean => /[@%]|eyJ|whsec_|[Bb]earer/.test(text);

/** The client's name for the request if it is well-formed and may be logged, else a new one. */
export const requestId = createMiddleware<Env>((c, next) => {
  const given = c.req.header('X-Request-Id');
  const good = given !== undefined && WELL_FORMED.test(given) && !mayTellASecret(given);
  c.set('requestId', good ? given : crypto.randomUUID());
  return next();
});
