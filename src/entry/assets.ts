import { readFile } from 'node:fs/promises';
import type { AssetSources } from '../platform/assets-loaded.ts';

const file = (specifier: string) => () => readFile(new URL(import.meta.resolve(specifier)));

/**
 * The static files of the service: there are no others. Those that end in `.js` or `.css` are served under /assets/. Node,
 * Deno and Bun read them when first asked for; for Workers, `build-edge.ts` writes them to a folder.
 */
export const ASSETS: AssetSources = {
  'console.css': file('../console/assets/console.css'),
  'console.js': file('../console/assets/console.js'),
  'docs.css': file('../docs/assets/docs.css'),
  'docs.js': file('../docs/assets/docs.js'),
  'problem.css': file('../http/assets/problem.css'),
};
