import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** An empty folder, which goes when the test is over. */
export function ownDirectory(t: TestContext, name = 'test'): string {
  const directory = mkdtempSync(join(tmpdir(), `keelson-${name}-`));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
