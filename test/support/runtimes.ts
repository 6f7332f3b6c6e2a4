import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const installed = (name: string) => join(root, 'test/node_modules/.bin', name);

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
/** The arguments of `npm start` after `exec node`, valid in any folder. */
const nodeArguments = (scripts.start as string)
  .split(' ')
  .slice(2)
  .map((part) => (/^(\.\/|src\/)/.test(part) ? join(root, part) : part));

/** How the service is started as a process on each runtime. */
export const COMMANDS = {
  node: [process.execPath, ...nodeArguments],
  deno: [installed('deno'), 'run', '-A', '--node-modules-dir=manual', join(root, 'src/entry/deno.ts')],
  bun: [installed('bun'), '--no-env-file', join(root, 'src/entry/bun.ts')],
};

/** How a script is run on each runtime. */
export const scriptOn = (runtime: keyof typeof COMMANDS, path: string): [command: string, ...args: string[]] => {
  const [command, ...args] = COMMANDS[runtime] as [string, ...string[]];
  return [command, ...args.slice(0, -1), join(root, path)];
};
