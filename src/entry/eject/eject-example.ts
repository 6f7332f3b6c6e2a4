// npm run eject-example: takes users, the example, out of the project.
import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateMigration, PROJECT, runTool } from '../generate.ts';
import { DELETED, EDITS, LINES } from './edits.ts';

/** What cannot be done as it is written in edits.ts, in words. */
const problems: string[] = [];
const written = new Map<string, string>();
for (const [path, edits] of Object.entries(EDITS)) written.set(path, edited(path, edits));
for (const [path, starts] of Object.entries(LINES)) written.set(path, without(path, starts));

for (const path of globSync(['src/**/*.ts', 'test/**/*.ts'], { cwd: PROJECT, exclude: ['**/node_modules/**'] })) {
  const isDeleted = DELETED.some((each) => path === each || path.startsWith(`${each}/`));
  if (!isDeleted && /\/users\/\w+\.ts'/.test(textOf(path))) problems.push(`${path} imports from users/`);
}

if (problems.length > 0) {
  process.stderr.write(
    `Nothing was changed. Do by hand what src/entry/eject/edits.ts has for these, and remove it there:\n${problems.join('\n')}\n`,
  );
  process.exit(1);
}
for (const [path, text] of written) writeFileSync(join(PROJECT, path), text);
for (const path of DELETED) rmSync(join(PROJECT, path), { recursive: true, force: true });
try {
  runTool('biome', 'check', '--write', '--error-on-warnings');
  generateMigration('eject_example');
  runTool(process.execPath, 'test/install.ts');
  runTool(process.execPath, 'test/bench/report.ts');
} catch (error) {
  process.stderr.write(`${(error as Error).message}; the files are changed all the same\n`);
  process.exit(1);
}
process.stdout.write(`
Users are gone: ${DELETED.filter((path) => /users/.test(path)).join(', ')}, and their mentions elsewhere (git diff).
The last migration in drizzle/ drops the table users and notifications.user_id: WITH THEIR DATA, once it is applied.
PERFORMANCE.md has nothing that was measured: npm run bench.

Next:
  npm test                                what remains proves itself
  npm run new -- team name:text           a resource of your own
`);

function textOf(path: string): string {
  return written.get(path) ?? (existsSync(join(PROJECT, path)) ? readFileSync(join(PROJECT, path), 'utf8') : '');
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
