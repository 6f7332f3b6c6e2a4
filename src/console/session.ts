import { getCookie } from 'hono/cookie';
import { createMiddleware } from 'hono/factory';
import { serialize } from 'hono/utils/cookie';
import type { Principal } from '../deps.ts';
import { AppError } from '../errors.ts';
import { setHeader } from '../http/answer.ts';
import { countFailure, invalidToken } from '../http/auth.ts';
import type { Ctx, Env } from '../http/context.ts';

/** For development on this machine. Elsewhere, the prefix keeps sibling and parent hosts from setting the cookie. */
const COOKIE = 'keelson_console';
const HOST_COOKIE = `__Host-${COOKIE}`;
/** The longest session, in seconds. A token that expires earlier ends it. */
const MAX_SESSION_S = 12 * 3600;
/** Browsers ignore longer cookies. */
const MAX_COOKIE = 4096;

/** What the cookie holds, sealed. Times in seconds. */
type Session = { token: string; untilS: number };

/**
 * Requires a session, and sets its principal. The token is verified with each request: once it has expired, or its key
 * is gone, the session ends. `ended` responds if there is no session. An invalid cookie counts as a failed token.
 */
export const session = (ended: (c: Ctx, had: boolean) => Response | Promise<Response>) =>
  createMiddleware<Env>(async (c, next) => {
    const sealed = cookieOf(c);
    if (!sealed) return ended(c, false);
    try {
      c.set('principal', await principalOf(c, sealed));
    } catch (error) {
      const isOver = error instanceof AppError && error.code === 'unauthorized';
      // Before it is counted: a client that may not fail any more must lose the cookie, too.
      if (isOver) endSession(c);
      await countFailure(c, error);
      if (!isOver) throw error;
      return ended(c, true);
    }
    await next();
  });

async function principalOf(c: Ctx, sealed: string): Promise<Principal> {
  const text = await c.env.secrets.open(sealed).catch(() => 'null');
  // A webhook secret that was sealed with the same key is not a session.
  const session = text.startsWith('{') || text === 'null' ? (JSON.parse(text) as Session | null) : null;
  if (!session || session.untilS * 1000 <= c.env.now().getTime()) throw invalidToken('the session has ended');
  return c.env.verifier(session.token);
}

/** Begins a session with a token, which is verified first. Throws AppError `unauthorized`, `rate-limited`. */
export async function beginSession(c: Ctx, token: string): Promise<void> {
  const { secrets, now } = c.env;
  const principal = await verified(c, token);
  const nowS = Math.floor(now().getTime() / 1000);
  const lifeS = Math.min(MAX_SESSION_S, Math.max(0, (principal.expiresS ?? Number.POSITIVE_INFINITY) - nowS));
  const sealed = await secrets.seal(JSON.stringify({ token, untilS: nowS + lifeS } satisfies Session));
  if (sealed.length + HOST_COOKIE.length > MAX_COOKIE) throw invalidToken('the token is too long for a cookie');
  setCookie(c, sealed, lifeS);
}

async function verified(c: Ctx, token: string): Promise<Principal> {
  try {
    if (!/^[\w\-.~+/]+=*$/.test(token)) throw invalidToken('not a valid bearer token');
    return await c.env.verifier(token);
  } catch (error) {
    await countFailure(c, error);
    throw error;
  }
}

export function endSession(c: Ctx): void {
  setCookie(c, '', 0);
}

/** The cookie of a session, which may have ended. */
export const cookieOf = (c: Ctx) => getCookie(c, isLoopback(c) ? COOKIE : HOST_COOKIE);

function setCookie(c: Ctx, value: string, maxAge: number): void {
  const options = { httpOnly: true, sameSite: 'Strict', maxAge } as const;
  const cookie = isLoopback(c)
    ? serialize(COOKIE, value, { ...options, path: '/console' })
    : serialize(HOST_COOKIE, value, { ...options, path: '/', secure: true });
  setHeader(c, 'Set-Cookie', cookie);
}

/** Whether this is development, on this machine, without TLS. Only then may a cookie omit `Secure`. */
function isLoopback(c: Ctx): boolean {
  const { hostname } = new URL(c.req.url);
  return !c.env.settings.production && isPlain(c) && /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname);
}

const isPlain = (c: Ctx) => new URL(c.req.url).protocol === 'http:';

/** Whether the browser may drop the cookie: it is `Secure`, and at least the request's last hop was without TLS. */
export const mayBeDropped = (c: Ctx): boolean => isPlain(c) && !isLoopback(c);
