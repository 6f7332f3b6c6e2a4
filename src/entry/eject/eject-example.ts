// npm run eject-example: removes the example resource, users, from the project.
import { existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateMigration, PROJECT, runTool } from '../generate.ts';
import { DELETED, EDITS, LINES } from './edits.ts';

/** Messages about what cannot be done as edits.ts specifies. */
const problems: string[] = [];
/** Messages about texts missing from pages. A clone may have its own pages. */
const missing: string[] = [];
const written = new Map<string, string>();
for (const [path, edits] of Object.entries(EDITS)) written.set(path, edited(path, edits));
for (const [path, starts] of Object.entries(LINES)) written.set(path, without(path, starts));

for (const path of globSync(['src/**/*.{ts,tsx}', 'test/**/*.ts'], { cwd: PROJECT, exclude: ['**/node_modules/**'] })) {
  const isDeleted = DELETED.some((each) => path === each || path.startsWith(`${each}/`));
  if (!isDeleted && /\/users\/\w+\.ts'/.test(textOf(path)))
    problems.push(`${path} imports from users/: remove that reference first`);
}

if (problems.length > 0) {
  process.stderr.write(`Nothing was changed.\n${problems.join('\n')}\n`);
  process.exit(1);
}
// A page that the clone lacks is not created.
for (const [path, text] of written) if (text !== '') writeFileSync(join(PROJECT, path), text);
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
${missing.length > 0 ? `\nPages that were not changed:\n${missing.join('\n')}\n` : ''}
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
    const where = `${path}: ${JSON.stringify(find.slice(0, 80))}`;
    if (count === 0 && path.endsWith('.md')) missing.push(`${where} is not there`);
    else if (count !== 1)
      problems.push(
        `${where} is there ${count} times: change it by hand as src/entry/eject/edits.ts says, and remove it there`,
      );
    text = text.replace(find, () => replacement);
  }
  return text;
}

function without(path: string, starts: string[]): string {
  const lines = textOf(path).split('\n');
  for (const start of starts) {
    const where = path.endsWith('.md') ? missing : problems;
    if (!lines.some((line) => line.startsWith(start))) where.push(`${path}: no line begins with ${start}`);
  }
  return lines.filter((line) => !starts.some((start) => line.startsWith(start))).join('\n');
}
