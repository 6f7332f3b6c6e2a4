import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { ASSETS } from './assets.ts';
import { PROJECT } from './generate.ts';

/** Where wrangler.toml expects the files. */
const OUTPUT = join(PROJECT, 'dist/edge');

type Files = Map<string, Uint8Array>;

/** Writes what wrangler.toml uploads: the script's modules and the static files. Several processes may do so at once. */
export async function writeEdgeFiles(): Promise<void> {
  await Promise.all([writeFiles(join(OUTPUT, 'script'), await scriptFiles()), writeAssets()]);
}

/** Writes the static files. */
async function writeAssets(): Promise<void> {
  const files: Files = new Map();
  for (const [name, load] of Object.entries(ASSETS)) files.set(name, Buffer.from(await load()));
  await writeFiles(join(OUTPUT, 'assets'), files);
}

/** Returns `worker.js`, and a module for each part that is imported on first use: workerd compiles it only then. */
async function scriptFiles(): Promise<Files> {
  const { outputFiles } = await build({
    absWorkingDir: PROJECT,
    entryPoints: { worker: 'src/entry/workers.ts' },
    outdir: join(OUTPUT, 'script'),
    write: false,
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    target: 'es2024',
    // As in wrangler's own bundles.
    conditions: ['workerd', 'worker', 'browser'],
    define: { 'process.env.NODE_ENV': '"production"' },
    external: ['cloudflare:*'],
    logLevel: 'warning',
  });
  const files = outputFiles.map(({ path, contents }) => [basename(path), contents] as const);
  // The entry last, after the modules that it imports.
  return new Map(files.sort(([a], [b]) => Number(a === 'worker.js') - Number(b === 'worker.js')));
}

/** Makes a folder hold exactly these files. Leaves identical ones alone; concurrent readers see whole files. */
async function writeFiles(folder: string, files: Files): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, content] of files) {
    const file = join(folder, name);
    const before = await readFile(file).catch(() => undefined);
    if (before?.equals(content)) continue;
    const beside = `${folder}.${name}.${process.pid}`;
    await writeFile(beside, content);
    await rename(beside, file);
  }
  for (const name of await readdir(folder)) if (!files.has(name)) await rm(join(folder, name), { force: true });
}
