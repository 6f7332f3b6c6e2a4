// Clones as users of the project make them: with a resource of their own, or without the example.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freshTree } from './fresh-tree.ts';

/** Resources with fields of every kind, as arguments of `npm run new`; some have no field that can change freely. */
export function everyKind(prefix: string): string[][] {
  const [team, person] = [`${prefix}-team`, `${prefix}-person`];
  return [
    [
      team,
      'name:text',
      'slug:text:unique',
      'size:integer',
      'active:boolean?',
      'matches:boolean',
      'plan:enum:free,pro',
      'settings:json',
    ],
    [
      ...[person, '--plural', `${prefix}-people`, `team:${team}.id`, `mentor:${team}.id?`, 'badge:integer:unique'],
      ...['startsAt:timestamp', 'leftAt:timestamp?', 'ref:uuid?', 'token:uuid:unique', 'note:text?', 'extra:json?'],
      'rank:enum:a,b?',
    ],
    [`${prefix}-membership`, `team:${team}.id`, `person:${person}.id`],
    [`${prefix}-tag`, 'name:text:unique'],
    [`${prefix}-vault`, `team:${team}.id:unique?`, 'title:text'],
  ];
}

/** A copy of the project in which tests can run. */
export function treeWithTests(t: TestContext) {
  const tree = freshTree(t);
  symlinkSync(join(import.meta.dirname, '../node_modules'), join(tree, 'test/node_modules'));
  /** Runs a script of package.json. */
  const attempt = (script: string, ...args: string[]) => {
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    return spawnSync('npm', ['run', script, '--', ...args], { cwd: tree, env, encoding: 'utf8' });
  };
  /** Like `attempt`, but throws with the script's entire output if it fails. */
  const run = (script: string, ...args: string[]) => {
    const { status, stdout, stderr } = attempt(script, ...args);
    assert.equal(status, 0, `npm run ${script} ${args.join(' ')}\n${stdout}\n${stderr}`);
    return stdout;
  };
  return { tree, attempt, run };
}
