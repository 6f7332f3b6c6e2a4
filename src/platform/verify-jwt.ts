import { errors, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose';
import { BoundedMap } from '../bounded-map.ts';
import type { Log, Principal, Verifier } from '../deps.ts';
import { AppError } from '../errors.ts';
import { invalidToken } from '../http/auth.ts';
import { type KeySetOptions, remoteKeySet } from './key-set.ts';

/** Seconds by which clocks may differ. */
const CLOCK_TOLERANCE_S = 30;
/** Milliseconds that a verified token is cached. A withdrawn key is noticed that much later than by the key set. */
const CACHE_TTL_MS = 60_000;
/** How many tokens are cached. Beyond it, the oldest is dropped. */
const MAX_CACHED = 1000;
/** The maximum length of a subject, in characters. */
const MAX_SUBJECT = 255;

type Expected = { issuer?: string | undefined; audience?: string | undefined };
type Settings = Expected & { secret?: string | undefined; jwksUrl?: string | undefined };

/** Creates the configured verifier. On Workers, `background` is `waitUntil`. */
export function createVerifier(settings: Settings, log: Log, background?: KeySetOptions['background']): Verifier {
  if (settings.jwksUrl === undefined) return secretVerifier(settings.secret as string, settings);
  return keySetVerifier(settings.jwksUrl, { ...settings, log, ...(background && { background }) });
}

/** Verifies HS256 tokens only. `secret` has at least 32 bytes. */
export function secretVerifier(secret: string, expected: Expected, now = Date.now): Verifier {
  const bytes = new TextEncoder().encode(secret);
  let key: Awaited<ReturnType<typeof crypto.subtle.importKey>> | undefined;
  const getKey = async () => {
    key ??= await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
    return key;
  };
  return verifier(getKey, ['HS256'], expected, now);
}

/** Verifies RS256, ES256 and EdDSA tokens with the keys at `jwksUrl`. If several keys fit, a token must name its key. */
export function keySetVerifier(
  jwksUrl: string,
  {
    log,
    now = Date.now,
    fetch = globalThis.fetch,
    background = () => {},
    ...expected
  }: Expected & Pick<KeySetOptions, 'log'> & Partial<KeySetOptions>,
): Verifier {
  const keys = remoteKeySet(jwksUrl, { log, now, fetch, background });
  return verifier(keys, ['RS256', 'ES256', 'EdDSA'], expected, now);
}

function verifier(
  key: JWTVerifyGetKey,
  algorithms: string[],
  { issuer, audience }: Expected,
  now: () => number,
): Verifier {
  const options: JWTVerifyOptions = {
    algorithms,
    clockTolerance: CLOCK_TOLERANCE_S,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  async function verify(token: string): Promise<Principal> {
    const { payload } = await jwtVerify(token, key, { ...options, currentDate: new Date(now()) }).catch((error) => {
      throw error instanceof AppError ? error : invalidToken(whyRefused(error));
    });
    if (typeof payload.sub !== 'string' || payload.sub === '') throw invalidToken('the token has no subject');
    // Quotas and idempotency keys are stored by subject: limited as in OpenID Connect, and to what Postgres can store.
    if (payload.sub.length > MAX_SUBJECT || payload.sub.includes('\0') || !payload.sub.isWellFormed()) {
      throw invalidToken('the claim sub of the token is not acceptable');
    }
    const scopes = typeof payload.scope === 'string' ? payload.scope.split(' ') : [];
    return { sub: payload.sub, scopes: new Set(scopes), expiresS: payload.exp };
  }
  return withCache(verify, now);
}

/** Caches verified tokens. Their expiry is still checked. */
function withCache(verify: (token: string) => Promise<Principal>, now: () => number): Verifier {
  const known = new BoundedMap<string, { principal: Principal; until: number }>(MAX_CACHED);
  async function verifyAnew(token: string): Promise<Principal> {
    known.delete(token);
    const principal = await verify(token);
    const { expiresS = Number.POSITIVE_INFINITY } = principal;
    known.set(token, { principal, until: Math.min(now() + CACHE_TTL_MS, (expiresS + CLOCK_TOLERANCE_S) * 1000) });
    return principal;
  }
  return (token) => {
    const entry = known.get(token);
    return entry && entry.until > now() ? entry.principal : verifyAnew(token);
  };
}

function whyRefused(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `the claim ${error.claim} of the token is not acceptable`;
  if (error instanceof errors.JWKSNoMatchingKey) return 'the token is signed with an unknown key';
  return 'the token is not valid';
}
