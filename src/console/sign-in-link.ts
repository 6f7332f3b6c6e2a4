import type { Deps } from '../deps.ts';
import { keepLink } from './store.ts';

/**
 * Makes a link that signs its first visitor in with `token`, within a quarter of an hour. For development: whoever reads it
 * first has the token's scopes.
 */
export async function createSignInLink(
  { db, secrets }: Pick<Deps, 'db' | 'secrets'>,
  { url, token }: { url: string; token: string },
  signal: AbortSignal,
): Promise<string> {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const code = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  await keepLink(db, { code, sealed: await secrets.seal(token) }, signal);
  return `${url}/console/sign-in/${code}`;
}
