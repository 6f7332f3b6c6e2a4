import type { Deps } from '../deps.ts';
import { keepLink } from './store.ts';

/** How long a start waits for its link: a database that cannot be written to is no reason not to start. */
const LINK_MS = 2000;

/**
 * In development, a link to a page that signs in whoever first presses its button, with every scope, within a quarter of
 * an hour. Undefined where this service makes no tokens.
 */
export async function createSignInLink(
  { db, secrets, developmentToken }: Pick<Deps, 'db' | 'secrets' | 'developmentToken'>,
  url: string,
  signal = AbortSignal.timeout(LINK_MS),
): Promise<string | undefined> {
  const token = await developmentToken?.();
  if (token === undefined) return undefined;
  const code = crypto.randomUUID().replaceAll('-', '');
  await keepLink(db, { code, sealed: await secrets.seal(token) }, signal);
  return `${url}/console/sign-in/${code}`;
}
