// @ts-check
// Loaded before anything else on Node. JavaScript, because stripping types from the first file costs 40 ms and 18 MB.
import { existsSync, lstatSync, mkdirSync } from 'node:fs';
import * as module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NODE = 24;

// An earlier version would fail at the first unknown feature, with a stack trace.
const version = process.versions.node;
if (Number.parseInt(version, 10) < NODE) {
  console.error(
    `Keelson needs Node ${NODE} or later, and this is Node ${version}: install Node ${NODE}, or run npm ci without ` +
      '--omit=dev, which brings it for the npm scripts.',
  );
  process.exit(1);
}

const folder = cacheFolder();
if (folder !== undefined) module.enableCompileCache(folder);

// Node parses a package's package.json for each of its files. drizzle's has 179 kB: 4 ms and 1 MB per file.
/** @type {Map<string, import('node:module').ResolveFnOutput>} */
const resolved = new Map();
const require = module.createRequire(import.meta.url);
module.registerHooks({
  resolve(specifier, context, next) {
    // For the console's pages, loaded when one is first opened.
    if (specifier.endsWith('.tsx')) require('./tsx.js');
    if (specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.includes('/drizzle-orm/')) {
      return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true };
    }
    if (!/^drizzle-orm(\/|$)/.test(specifier)) return next(specifier, context);
    const found = resolved.get(specifier) ?? next(specifier, context);
    resolved.set(specifier, found);
    return { ...found, shortCircuit: true };
  },
});

/** Returns the directory for compiled code, or undefined. No one else may write to it: what is in it is executed. */
function cacheFolder() {
  const folder = join(tmpdir(), `keelson-${process.getuid?.() ?? 'cache'}`);
  try {
    // Not recursive: below /proc, that would never return.
    if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
    const found = lstatSync(folder);
    const isOurs = !process.getuid || (found.uid === process.getuid() && (found.mode & 0o022) === 0);
    return found.isDirectory() && isOurs ? folder : undefined;
  } catch {
    return undefined;
  }
}
