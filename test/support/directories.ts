import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Creates an empty folder that is removed when the test ends. */
export function ownDirectory(t: TestContext, name = 'test'): string {
  const directory = mkdtempSync(join(tmpdir(), `keelson-${name}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
