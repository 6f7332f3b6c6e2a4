import type { Router } from 'hono/router';
import { RegExpRouter } from 'hono/router/reg-exp-router';
import { SmartRouter } from 'hono/router/smart-router';
import { TrieRouter } from 'hono/router/trie-router';

/**
 * Creates a router that looks up literal paths first. One regular expression matches all others, faster than a tree,
 * but it does not support `/redrive` next to `/:id/redrive`.
 */
export function literalFirst<T>(): Router<T> & { halves: SmartRouter<T>[] } {
  const [literal, other] = [smart<T>(), smart<T>()];
  const paths = new Set<string>();
  return {
    name: 'literal first',
    halves: [literal, other],
    add(method, path, handler) {
      const isLiteral = !/[*:]/.test(path);
      if (isLiteral) paths.add(path);
      for (const router of path.includes('*') ? [literal, other] : [isLiteral ? literal : other]) {
        router.add(method, path, handler);
      }
    },
    match: (method, path) => (paths.has(path) ? literal : other).match(method, path),
  };
}

const smart = <T>() => new SmartRouter<T>({ routers: [new RegExpRouter(), new TrieRouter()] });
