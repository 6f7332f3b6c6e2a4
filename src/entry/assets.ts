import { readFile } from 'node:fs/promises';
import { app } from '../app.ts';
import type { AssetSources } from '../platform/assets-loaded.ts';

const file = (locate: () => string) => () => readFile(new URL(locate()));

/**
 * All static files of the service. Those that end in `.js` or `.css` are served under /assets/. Node, Deno and Bun read
 * each file when it is first requested; for Workers, `edge-files.ts` writes them to a folder.
 */
export const ASSETS: AssetSources = {
  'console.css': file(() => import.meta.resolve('../console/assets/console.css')),
  'console.js': file(() => import.meta.resolve('../console/assets/console.js')),
  'docs.css': file(() => import.meta.resolve('../docs/assets/docs.css')),
  'docs.js': file(() => import.meta.resolve('../docs/assets/docs.js')),
  'openapi.json': async () => JSON.stringify((await import('../docs/document.ts')).documentOf(app.routes)),
  'problem.css': file(() => import.meta.resolve('../http/assets/problem.css')),
  'swagger-ui.css': file(() => import.meta.resolve('swagger-ui-dist/swagger-ui.css')),
  'swagger-ui.js': file(() => import.meta.resolve('swagger-ui-dist/swagger-ui-bundle.js')),
};
