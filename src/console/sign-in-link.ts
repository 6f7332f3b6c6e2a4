import type { Deps } from '../deps.ts';
import { keepLink } from './store.ts';

/** How long startup waits for the link: a database that cannot be written to must not prevent startup. */
const LINK_MS = 2000;

/**
 * In development, creates a link to a page that signs in, with every scope, the first person who presses its button
 * within 15 minutes. Returns undefined if this service creates no tokens.
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
