// Heavy packages that only tests and benchmarks need: installed when their lock file has changed.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Runs npm ci in test/, unless the installed packages match the lock file. */
export function installTestDependencies(): void {
  const stamp = join(root, 'test/node_modules/.installed');
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'test/package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  console.log('\n# install what only tests need');
  execFileSync('npm', ['ci', '--prefix', 'test', '--no-audit', '--no-fund'], { cwd: root, stdio: 'inherit' });
  writeFileSync(stamp, lock);
}

if (import.meta.main) installTestDependencies();
