// npm run eject-example: takes users, the example, out of the project.
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DELETED, EDITS, LINES } from './edits.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** What cannot be done as it is written in edits.ts, in words. */
const problems: string[] = [];
const written = new Map<string, string>();
for (const [path, edits] of Object.entries(EDITS)) written.set(path, edited(path, edits));
for (const [path, starts] of Object.entries(LINES)) written.set(path, without(path, starts));

for (const path of globSync(['src/**/*.ts', 'test/**/*.ts'], { cwd: ROOT, exclude: ['**/node_modules/**'] })) {
  const isDeleted = DELETED.some((each) => path === each || path.startsWith(`${each}/`));
  if (!isDeleted && /\/users\/\w+\.ts'/.test(textOf(path))) problems.push(`${path} imports from users/`);
}

if (problems.length > 0) {
  process.stderr.write(
    `Nothing was changed. Do by hand what src/entry/eject/edits.ts has for these, and remove it there:\n${problems.join('\n')}\n`,
  );
  process.exit(1);
}
for (const [path, text] of written) writeFileSync(join(ROOT, path), text);
for (const path of DELETED) rmSync(join(ROOT, path), { recursive: true, force: true });
run('biome', 'check', '--write', '--error-on-warnings');
const migrations = migrationCount();
const output = run('drizzle-kit', 'generate', '--name', 'eject_example');
// It exits with 0 all the same.
if (migrationCount() === migrations) fail(`${output}\ndrizzle-kit generated no migration`);
run(process.execPath, 'test/install.ts');
run(process.execPath, 'test/bench/report.ts');
process.stdout.write(`
Users are gone: ${DELETED.filter((path) => /users/.test(path)).join(', ')}, and their mentions elsewhere (git diff).
The last migration in drizzle/ drops the table users and notifications.user_id: WITH THEIR DATA, once it is applied.
PERFORMANCE.md has nothing that was measured: npm run bench.

Next:
  npm test                                what remains proves itself
  npm run new -- team name:text           a resource of your own
`);

function textOf(path: string): string {
  return written.get(path) ?? (existsSync(join(ROOT, path)) ? readFileSync(join(ROOT, path), 'utf8') : '');
}

function edited(path: string, edits: [find: string, replacement: string][]): string {
  let text = textOf(path);
  for (const [find, replacement] of edits) {
    const count = text.split(find).length - 1;
    if (count !== 1) problems.push(`${path}: ${JSON.stringify(find.slice(0, 80))} is there ${count} times`);
    text = text.replace(find, () => replacement);
  }
  return text;
}

function without(path: string, starts: string[]): string {
  const lines = textOf(path).split('\n');
  for (const start of starts) {
    if (!lines.some((line) => line.startsWith(start))) problems.push(`${path}: no line begins with ${start}`);
  }
  return lines.filter((line) => !starts.some((start) => line.startsWith(start))).join('\n');
}

function migrationCount(): number {
  return globSync('drizzle/*.sql', { cwd: ROOT }).length;
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  const output = `${stdout}${stderr}${error ?? ''}`;
  if (status !== 0) fail(`${output}\n${command} failed`);
  return output;
}

function fail(why: string): never {
  process.stderr.write(`${why}; the files are changed all the same\n`);
  process.exit(1);
}
