import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ASSETS } from './assets.ts';

/** The `directory` of [assets] in wrangler.toml. */
const DIRECTORY = join(import.meta.dirname, '../../dist/edge/assets');

/** Writes the static files for Workers, where they have changed. Several processes may do so at once. */
export async function buildAssets(): Promise<void> {
  await mkdir(DIRECTORY, { recursive: true });
  for (const [name, load] of Object.entries(ASSETS)) {
    const file = join(DIRECTORY, name);
    const content = Buffer.from(await load());
    const before = await readFile(file).catch(() => undefined);
    if (before?.equals(content)) continue;
    // Beside the folder: whoever reads it sees whole files only.
    const written = `${DIRECTORY}.${name}.${process.pid}`;
    await writeFile(written, content);
    await rename(written, file);
  }
  for (const name of await readdir(DIRECTORY)) {
    if (!Object.hasOwn(ASSETS, name)) await rm(join(DIRECTORY, name), { recursive: true, force: true });
  }
}
