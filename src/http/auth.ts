import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import { networkOf } from './client-network.ts';
import type { Env } from './context.ts';
import { refuse } from './rate-limit.ts';

/** Requires a scope, such as `webhooks:read`. Throws AppError `insufficient-scope`. */
export const scope = (needed: string) =>
  createMiddleware<Env>(async (c, next) => {
    if (!c.get('principal').scopes.has(needed)) {
      throw new AppError('insufficient-scope', `This operation requires the scope ${needed}.`, {
        headers: { 'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${needed}"` },
      });
    }
    await next();
  });

/**
 * Authenticates a bearer token (RFC 6750). A failed attempt counts against the client's network, which limits guessing.
 * A valid token is never refused because of others' failures.
 */
export const authenticate = createMiddleware<Env>(async (c, next) => {
  const { limiter, verifier, clientAddress } = c.env;
  try {
    const token = bearerToken(c.req.header('Authorization'));
    c.set('principal', await verifier(token));
  } catch (error) {
    if (error instanceof AppError && error.code === 'unauthorized') {
      const quota = await limiter.take(`address:${networkOf(clientAddress)}`);
      if (!quota.allowed) throw refuse(c, quota);
    }
    throw error;
  }
  await next();
});

function bearerToken(header: string | undefined): string {
  const token = /^Bearer +([\w\-.~+/]+=*)$/i.exec(header ?? '')?.[1];
  if (token) return token;
  throw new AppError(
    'unauthorized',
    header ? 'The Authorization header has no bearer token.' : 'The request has no bearer token.',
    {
      headers: { 'WWW-Authenticate': header ? 'Bearer error="invalid_request"' : 'Bearer' },
    },
  );
}

/** The error that a verifier throws for an invalid token. */
export function invalidToken(why: string): AppError {
  return new AppError('unauthorized', why, {
    headers: { 'WWW-Authenticate': `Bearer error="invalid_token", error_description="${why}"` },
  });
}
