// Everything CI checks, in order of cost, or only the given test files: npm test -- test/client.test.ts
import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { check } from './check.ts';
import { installTestDependencies } from './install.ts';
import { makePgliteTemplate } from './support/pglite-template.ts';
import { startPostgres } from './support/postgres-server.ts';

const root = join(import.meta.dirname, '..');
const asked = process.argv.slice(2);

installTestDependencies();
if (asked.length === 0) {
  if (!(await check())) process.exit(1);
  await migrationsMatchTheSchema();
}
await runTests();

async function migrationsMatchTheSchema(): Promise<void> {
  const before = globSync('drizzle/**', { cwd: root });
  await step('no migration is missing', 'drizzle-kit', 'generate', '--name', 'drift');
  const added = globSync('drizzle/**', { cwd: root }).filter((file) => !before.includes(file));
  if (added.length === 0) return;
  console.error(`The schema has changes without a migration: run npm run db:generate. (See ${added.join(', ')})`);
  process.exit(1);
}

async function runTests(): Promise<void> {
  const [postgres, removeTemplate] = await Promise.all([startPostgres(), makePgliteTemplate()]);
  try {
    const files =
      asked.length > 0
        ? asked
        : globSync('test/**/*.test.ts', { cwd: root, exclude: ['**/node_modules/**', 'test/upgrade/teams/**'] });
    // Compiled code is reused from file to file, which halves the cost of starting one.
    const prepared = ['--import', './src/entry/prepare.js'];
    // One more than the number of cores here: tests wait, too.
    const flags = [...prepared, '--test', '--test-concurrency=3', '--test-timeout=240000'];
    await step('tests', process.execPath, ...flags, ...files.sort());
  } finally {
    await postgres.stop();
    await removeTemplate();
  }
}

async function step(title: string, command: string, ...args: string[]): Promise<void> {
  console.log(`\n# ${title}`);
  const start = performance.now();
  const code = await new Promise<number>((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
  console.log(`# ${title}: ${code === 0 ? 'ok' : 'FAILED'} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  if (code !== 0) {
    process.exitCode = code;
    throw new Error(`${title} failed`);
  }
}
