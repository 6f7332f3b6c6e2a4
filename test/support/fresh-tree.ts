import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ownDirectory } from './directories.ts';

const root = join(import.meta.dirname, '../..');

/** Copies the repository to a folder of its own, as it is after `npm ci`: without what only tests need. */
export function freshTree(t: TestContext): string {
  const tree = ownDirectory(t, 'tree');
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  // A file that git still lists may be deleted without a commit.
  for (const file of listed.split('\0').filter((each) => each && existsSync(join(root, each)))) {
    cpSync(join(root, file), join(tree, file));
  }
  // Links the packages, not the folder itself: what tools cache in it stays in this tree.
  mkdirSync(join(tree, 'node_modules'));
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '.cache') symlinkSync(join(root, 'node_modules', name), join(tree, 'node_modules', name));
  }
  return tree;
}
