import { SignJWT } from 'jose';
import type { Config } from './config.ts';

/** Signs a token for `sub`, valid for a day. Requires `config.jwt.secret`. */
export function signToken({ secret, issuer, audience }: Config['jwt'], sub: string, scope: string): Promise<string> {
  const token = new SignJWT({ scope }).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).setSubject(sub);
  if (issuer) token.setIssuer(issuer);
  if (audience) token.setAudience(audience);
  return token.setIssuedAt().setExpirationTime('24h').sign(new TextEncoder().encode(secret));
}
