import { errors, type JWTVerifyOptions, jwtVerify } from 'jose';
import type { Verifier } from '../deps.ts';
import { invalidToken } from '../http/auth.ts';

/** Seconds by which clocks may differ. */
const CLOCK_TOLERANCE_S = 30;

type Expected = { issuer?: string | undefined; audience?: string | undefined };

/** Verifies HS256 tokens and no others. `secret` has at least 32 bytes. */
export function secretVerifier(secret: string, { issuer, audience }: Expected): Verifier {
  const key = new TextEncoder().encode(secret);
  const options: JWTVerifyOptions = {
    algorithms: ['HS256'],
    clockTolerance: CLOCK_TOLERANCE_S,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  return async (token) => {
    const { payload } = await jwtVerify(token, key, options).catch((error) => {
      throw invalidToken(whyRefused(error));
    });
    if (typeof payload.sub !== 'string' || payload.sub === '') throw invalidToken('the token has no subject');
    const scopes = typeof payload.scope === 'string' ? payload.scope.split(' ') : [];
    return { sub: payload.sub, scopes: new Set(scopes) };
  };
}

function whyRefused(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `the claim ${error.claim} of the token is not acceptable`;
  return 'the token is not valid';
}
