import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';

/** The folder of package.json. */
export const PROJECT = join(import.meta.dirname, '../..');

/** Runs a tool in the project. If it fails, throws an error with its whole output. */
export function runTool(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: PROJECT, encoding: 'utf8' });
  const output = `${stdout}${stderr}${error ?? ''}`;
  if (status !== 0) throw new Error(`${output}\n${command} failed`);
  return output;
}

/** Generates the migration of a changed schema. Throws if there is none: drizzle-kit exits with 0 even if it fails. */
export function generateMigration(name: string): void {
  const count = () => globSync('drizzle/*.sql', { cwd: PROJECT }).length;
  const before = count();
  const output = runTool('drizzle-kit', 'generate', '--name', name);
  if (count() === before) throw new Error(`${output}\ndrizzle-kit generated no migration`);
}
