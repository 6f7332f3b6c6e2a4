import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Ctx, Env } from './context.ts';
import { takeQuota } from './rate-limit.ts';

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
  c.set('principal', await throttleFailures(c, () => c.env.verifier(bearerToken(c.req.header('Authorization')))));
  await next();
});

/** Settles as `verify` does. A failed attempt counts against the client's network; over quota, it is `rate-limited`. */
export async function throttleFailures<T>(c: Ctx, verify: () => Promise<T>): Promise<T> {
  try {
    return await verify();
  } catch (error) {
    if (error instanceof AppError && error.code === 'unauthorized') {
      // Loads the address parser, which is not needed at startup.
      const { networkOf } = await import('./client-network.ts');
      await takeQuota(c, `address:${networkOf(c.env.clientAddress)}`);
    }
    throw error;
  }
}

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
