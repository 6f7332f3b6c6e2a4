import type { Deps } from '../deps.ts';
import { keepLink } from './store.ts';

/**
 * In development, a link to a page that signs in whoever first presses its button, with every scope, within a quarter of an hour. Undefined where
 * this service makes no tokens.
 */
export async function createSignInLink(
  { db, secrets, developmentToken }: Pick<Deps, 'db' | 'secrets' | 'developmentToken'>,
  url: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const token = await developmentToken?.();
  if (token === undefined) return undefined;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const code = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  await keepLink(db, { code, sealed: await secrets.seal(token) }, signal);
  return `${url}/console/sign-in/${code}`;
}
