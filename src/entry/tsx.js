// @ts-check
// Node strips types, but does not support JSX: the console's pages are transformed as they are loaded, 0.4 ms each. The
// transformer is not loaded before the first of them. Deno, Bun and esbuild support JSX.
import { readFileSync } from 'node:fs';
import { createRequire, registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

/** @type {import('oxc-transform').TransformOptions} */
const OPTIONS = {
  target: 'es2024',
  // Each file says from where.
  jsx: { runtime: 'automatic' },
  typescript: { onlyRemoveTypeImports: true },
};

const require = createRequire(import.meta.url);

registerHooks({
  load(url, context, next) {
    if (!url.startsWith('file:') || !url.endsWith('.tsx')) return next(url, context);
    /** @type {import('oxc-transform')} */
    const { transformSync } = require('oxc-transform');
    const file = fileURLToPath(url);
    const { code, errors } = transformSync(file, readFileSync(file, 'utf8'), OPTIONS);
    if (errors[0]) throw new SyntaxError(errors[0].codeframe ?? errors[0].message);
    return { format: 'module', source: code, shortCircuit: true };
  },
});
