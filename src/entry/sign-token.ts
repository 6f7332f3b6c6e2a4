import { SignJWT } from 'jose';
import type { Config } from './config.ts';

/** A development token for `sub`, valid for a day. `config.jwt.secret` must be set. */
export function signToken({ secret, issuer, audience }: Config['jwt'], sub: string, scope: string): Promise<string> {
  const token = new SignJWT({ scope }).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).setSubject(sub);
  if (issuer) token.setIssuer(issuer);
  if (audience) token.setAudience(audience);
  return token.setIssuedAt().setExpirationTime('24h').sign(new TextEncoder().encode(secret));
}
