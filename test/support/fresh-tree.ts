import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ownDirectory } from './directories.ts';

const root = join(import.meta.dirname, '../..');

/** The repository in a folder of its own, as it is after `npm ci`: what only tests need is not there. */
export function freshTree(t: TestContext): string {
  const tree = ownDirectory(t, 'tree');
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  // What git still lists may be deleted and not committed.
  for (const file of listed.split('\0').filter((each) => each && existsSync(join(root, each)))) {
    cpSync(join(root, file), join(tree, file));
  }
  // Not the folder itself: what tools cache in it is the tree's own.
  mkdirSync(join(tree, 'node_modules'));
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '.cache') symlinkSync(join(root, 'node_modules', name), join(tree, 'node_modules', name));
  }
  return tree;
}
