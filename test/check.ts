// Static checks: npm run check, or one kind of them (npm run lint, npm run typecheck). npm test runs them first.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { installTestDependencies } from './install.ts';

type Step = { title: string; command: string };

const KINDS: Record<string, Step[]> = {
  lint: [{ title: 'format and lint', command: 'biome ci --error-on-warnings' }],
  types: [
    { title: 'types', command: `tsc -p test ${kept('all')}` },
    { title: 'types of the core, which knows no runtime', command: `tsc -p src ${kept('core')}` },
    { title: 'types of the browser scripts', command: `tsc -p src/tsconfig.browser.json ${kept('browser')}` },
    { title: 'types of the Workers', command: `tsc -p src/entry/tsconfig.workers.json ${kept('workers')}` },
  ],
  unused: [{ title: 'unused code', command: 'knip' }],
};

/** Keeps TypeScript's results: the next run takes a fifth of the time. */
function kept(name: string): string {
  return `--noEmit --incremental --tsBuildInfoFile node_modules/.cache/tsc/${name}.tsbuildinfo`;
}

/** Runs the steps of one kind, or all of them, side by side; prints how each went, and what failed. Changes no file. */
export async function check(kind?: string): Promise<boolean> {
  const steps = kind === undefined ? Object.values(KINDS).flat() : KINDS[kind];
  if (!steps) throw new Error(`there is no such kind of check: ${Object.keys(KINDS).join(', ')}`);
  // Tests cannot be checked without the packages that only they need; lint needs none of them.
  if (kind !== 'lint') installTestDependencies();
  const failed: string[] = [];
  await Promise.all(
    steps.map(async ({ title, command }) => {
      const start = performance.now();
      const { code, output } = await run(command);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      if (code === 0) return console.log(`# ${title}: ok (${seconds} s)`);
      failed.push(title);
      console.error(`\n${output.trim()}\n# ${title}: FAILED (${seconds} s)\n`);
    }),
  );
  if (failed.length > 0) console.error(`Failed: ${failed.join(', ')}`);
  if (failed.includes('format and lint')) console.error('npm run format puts most of that right.');
  return failed.length === 0;
}

function run(command: string): Promise<{ code: number; output: string }> {
  const [file, ...args] = command.split(' ') as [string, ...string[]];
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: join(import.meta.dirname, '..'), stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

if (import.meta.main) process.exitCode = (await check(process.argv[2])) ? 0 : 1;
