import { createSignInLink } from '../console/sign-in-link.ts';
import type { Deps } from '../deps.ts';
import type { Config } from './config.ts';
import { signToken } from './sign-token.ts';

/** Milliseconds that the database may take. */
const PATIENCE_MS = 2000;

/** In development, a link that signs in to the console once; undefined where this service signs no tokens. */
export async function signInLink(
  { jwt, production }: Config,
  deps: Pick<Deps, 'db' | 'secrets'>,
  url: string,
  scopes: string,
): Promise<string | undefined> {
  if (production || !jwt.secret) return undefined;
  const token = await signToken(jwt, 'developer', scopes);
  // A database that cannot be written to is no reason not to start.
  return createSignInLink(deps, { url, token }, AbortSignal.timeout(PATIENCE_MS)).catch(() => undefined);
}
