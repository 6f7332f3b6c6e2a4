import { errors } from './errors.ts';
import { system } from './system.ts';
import type { Target } from './target.ts';
import { users } from './users.ts';
import { webhooks } from './webhooks.ts';
import { words } from './words.ts';

/** Everything a client may rely on, over HTTP, knowing nothing of the runtime behind the URL. */
export function conformance(target: () => Target): void {
  system(target);
  users(target);
  errors(target);
  webhooks(target);
  words(target);
}
