// A template of the migrated embedded database: creating one takes six times as long as copying it.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPglite, openPgliteClient } from '../../src/platform/db-pglite.ts';

/** The variable with its path. */
const TEMPLATE = 'TEST_PGLITE_TEMPLATE';

/** Creates the template and sets TEST_PGLITE_TEMPLATE; returns a function that removes it. */
export async function makePgliteTemplate(): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'keelson-pglite-'));
  const path = join(directory, 'template.tar');
  const { client, close } = await openPgliteClient('memory://');
  await writeFile(path, (await client.dumpDataDir('none')).stream());
  await close();
  process.env[TEMPLATE] = path;
  return () => rm(directory, { recursive: true, force: true });
}

/** Opens an embedded database of the test's own, in memory. */
export async function openTestPglite() {
  const path = process.env[TEMPLATE];
  if (!path) throw new Error(`${TEMPLATE} is not set: run the tests with npm test`);
  return openPglite('memory://', undefined, new Blob([await readFile(path)]));
}
