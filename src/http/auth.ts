import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import type { Ctx, Env } from './context.ts';
import { applyQuota } from './rate-limit.ts';

/** Requires a scope, such as `webhooks:read`. Throws AppError `insufficient-scope`. */
export const scope = (needed: string) =>
  createMiddleware<Env>((c, next) => {
    if (!c.get('principal').scopes.has(needed)) {
      throw new AppError('insufficient-scope', `This operation requires the scope ${needed}.`, {
        headers: { 'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${needed}"` },
      });
    }
    return next();
  });

/**
 * Authenticates a bearer token (RFC 6750). A failed attempt counts against the client's network, which limits guessing.
 * A valid token is never refused because of others' failures.
 */
export const authenticate = createMiddleware<Env>(async (c, next) => {
  try {
    c.set('principal', await c.env.verifier(bearerToken(c.req.header('Authorization'))));
  } catch (error) {
    await countFailure(c, error);
    throw error;
  }
  await next();
});

/** Counts an attempt that failed as `unauthorized` against the client's network. Throws AppError `rate-limited`. */
export async function countFailure(c: Ctx, error: unknown): Promise<void> {
  if (!(error instanceof AppError && error.code === 'unauthorized')) return;
  // Loads the address parser, which is not needed at startup.
  const { networkOf } = await import('./client-network.ts');
  applyQuota(c, await c.env.limiter.take(`address:${networkOf(c.env.clientAddress)}`));
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
