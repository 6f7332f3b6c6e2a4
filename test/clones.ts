// npm run test:clones: the whole suite in two clones, one with resources that npm run new made, one without the example.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installTestDependencies } from './install.ts';
import { everyKind } from './support/clones.ts';

const root = join(import.meta.dirname, '..');
const CLONES: Record<string, string[][]> = {
  new: everyKind('first').map((words) => ['run', 'new', '--', ...words]),
  eject: [['run', 'eject-example']],
};

installTestDependencies();
const asked = process.argv.slice(2);
for (const name of asked.length > 0 ? asked : Object.keys(CLONES)) {
  const directory = mkdtempSync(join(tmpdir(), `keelson-${name}-`));
  // For Postgres, which does not run as root.
  chmodSync(directory, 0o755);
  const tree = join(directory, 'clone');
  const run = (command: string, ...args: string[]) => {
    console.log(`\n# ${name}: ${command} ${args.join(' ')}`);
    const cwd = command === 'git' && args[0] === 'clone' ? root : tree;
    const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) throw new Error(`${name}: ${command} ${args.join(' ')} failed`);
  };
  try {
    run('git', 'clone', '-q', '.', tree);
    for (const path of ['node_modules', 'test/node_modules'])
      cpSync(join(root, path), join(tree, path), { recursive: true });
    for (const command of CLONES[name] ?? []) run('npm', ...command);
    run('npm', 'test');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
