import { collections } from '../support/collections.ts';
import { operatorPages } from './console.ts';
import { errors } from './errors.ts';
import { resource } from './resource.ts';
import { system } from './system.ts';
import type { Call, Target } from './target.ts';
import { users } from './users.ts';
import { webhooks } from './webhooks.ts';
import { words } from './words.ts';

/** Tests everything a client may rely on, over HTTP, without knowledge of the runtime behind the URL. */
export function conformance(target: () => Target): void {
  system(target);
  for (const { path, make, change } of collections) {
    const list = `/api/v1${path}`;
    const post = (call: Call) => (to: string, body: object) => call('POST', `/api/v1${to}`, { body });
    resource(target, {
      path: list,
      make: (call) => make(post(call)),
      change: (body, call) => change(body, post(call)),
    });
  }
  users(target);
  errors(target);
  webhooks(target);
  words(target);
  operatorPages(target);
}
