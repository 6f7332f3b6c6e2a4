// npm run new -- team name:text: a resource with its migration and its tests.
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { generateMigration, PROJECT, runTool } from '../generate.ts';
import { say } from '../progress.ts';
import { type Declaration, DeclarationError, namesOf, type Parent, parseDeclaration } from './declaration.ts';
import { filesOf } from './files.ts';

const USAGE = `usage: npm run new -- <resource> <field>… [--plural <resources>]

  npm run new -- team name:text
  npm run new -- person name:text 'team:team.id?' joined:timestamp badge:text:unique role:enum:lead,member --plural people

A field is name:type. Types: text, integer, boolean, timestamp, uuid, json, enum:a,b,c, or a reference such as team.id.
Then :unique, and a ? for a field that may be left out.`;

try {
  const { values, positionals } = parseArgs({ options: { plural: { type: 'string' } }, allowPositionals: true });
  if (positionals.length === 0) throw new DeclarationError(USAGE);
  const parents = parentsIn();
  const schemas = [
    ...found('src/*/schema.ts', /\bid: '(\w+)'/g),
    ...found('src/*/schema.ts', /\bview\('(\w+)'/g),
    'Problem',
  ];
  const scopes = found('src/*/routes.ts', /'([\w-]+:read)'/g);
  const tables = found('src/*/schema.ts', /pgTable\(\s*'(\w+)'/g);
  const folders = [...readdirSync(join(PROJECT, 'src')), ...readdirSync(join(PROJECT, 'test'))];
  const existing = { folders, tables, scopes, schemas, find: (name: string) => parents.get(name) };
  create(parseDeclaration(positionals, values.plural, existing));
} catch (error) {
  if (!(error instanceof DeclarationError) && !(error as Error & { code?: string }).code?.startsWith('ERR_PARSE_ARGS'))
    throw error;
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

/** Returns what the pattern captures in the files. */
function found(files: string, pattern: RegExp): string[] {
  return globSync(files, { cwd: PROJECT }).flatMap((path) =>
    Array.from(readFileSync(join(PROJECT, path), 'utf8').matchAll(pattern), (match) => match[1] as string),
  );
}

/**
 * Returns the resources that a reference can name, keyed by singular name: those with a view of their own table that requests
 * create and delete. What only the service deletes must not be held by a reference.
 */
function parentsIn(): Map<string, Parent> {
  const parents = new Map<string, Parent>();
  for (const path of globSync('src/*/schema.ts', { cwd: PROJECT })) {
    const text = readFileSync(join(PROJECT, path), 'utf8');
    const [, camels, table] = /^export const (\w+) = pgTable\(\s*'(\w+)'/m.exec(text) ?? [];
    const [, pascal = ''] = /^export const \w+ = view\('(\w+)', /m.exec(text) ?? [];
    const name = pascal.replace(/(?<=.)[A-Z]/g, '-$&').toLowerCase();
    if (camels && table && pascal && createsAndRemoves(dirname(path)))
      parents.set(name, { name: { ...namesOf(name, basename(dirname(path))), camels }, table });
  }
  return parents;
}

function createsAndRemoves(folder: string): boolean {
  const path = join(PROJECT, folder, 'routes.ts');
  const routes = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return ['create', 'remove'].every((each) => routes.includes(`operation.${each}(`));
}

function create(declaration: Declaration): void {
  const { names } = declaration;
  const files = filesOf(declaration);
  const appPath = join(PROJECT, 'src/app.ts');
  const before = readFileSync(appPath, 'utf8');
  const app = mounted(before, declaration);

  const undo = () => {
    for (const path of [`src/${names.path}`, `test/${names.path}`])
      rmSync(join(PROJECT, path), { recursive: true, force: true });
    writeFileSync(appPath, before);
  };
  // Ctrl-C ends the tool that runs, too, and its failure undoes everything.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(PROJECT, path)), { recursive: true });
      writeFileSync(join(PROJECT, path), text, { flag: 'wx' });
    }
    writeFileSync(appPath, app);
    runTool('biome', 'check', '--write', '--error-on-warnings', 'src/app.ts', ...Object.keys(files));
    generateMigration(names.table);
  } catch (error) {
    undo();
    throw new DeclarationError(`${(error as Error).message}: nothing was written`);
  }
  say(`
Created ${Object.keys(files).join('\n        ')}
        a migration in drizzle/, and a line in src/app.ts

Next:
${[
  ['npm run check', 'types, lint'],
  [`npm test -- test/${names.path}/${names.path}.test.ts`, 'on every database'],
  ['npm test', 'everything, on every runtime'],
  ['npm run dev', `serves /api/v1/${names.path}; migrates the embedded database`],
]
  .map(([command = '', what]) => `  ${command.padEnd(56)} ${what}`)
  .join('\n')}
A rule of your own belongs in src/${names.path}/routes.ts or, where it depends on the database, in store.ts; its test in
test/${names.path}/${names.path}.test.ts. To add a field: its column, its input and its example in schema.ts, then
npm run db:generate. If the table has rows, the column needs a default, or the field must be optional.
`);
}

/** Returns app.ts with an import and a line added. */
function mounted(app: string, { names }: Declaration): string {
  if (app.split(/\W/).includes(`${names.camels}Routes`))
    throw new DeclarationError(`src/app.ts has ${names.camels}Routes already: choose another name`);
  const last = app.lastIndexOf("  .route('/api/v1/");
  const end = app.indexOf(';', last);
  if (last < 0 || end < 0)
    throw new DeclarationError("src/app.ts has no line .route('/api/v1/…') to put one after: nothing was written");
  const route = `${app.slice(0, end)}\n  .route('/api/v1/${names.path}', ${names.camels}Routes)${app.slice(end)}`;
  return `import { ${names.camels}Routes } from './${names.path}/routes.ts';\n${route}`;
}
