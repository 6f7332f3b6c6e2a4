// A clone as its owner begins: without the example, and with resources of its own.
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inClone } from '../support/clone.ts';
import { everyKind, treeWithTests } from '../support/clones.ts';

/** In the three ways that a name has it; "statusError" has none of them. */
const USER = /user|User|USER/;

/** Words that have nothing to do with the example: from URLs, HTTP, Postgres and SQL. */
const OTHERS = /user-agent|username|user name|database, its user|failed for user|unique user using/i;

type Tree = ReturnType<typeof treeWithTests>;

function ejectExample({ tree, run }: Tree) {
  // A clone may have pages of its own.
  const readme = join(tree, 'README.md');
  writeFileSync(readme, readFileSync(readme, 'utf8').replace('users, webhooks and notifications', 'webhooks'));
  const said = run('eject-example');
  assert.match(said, /^README\.md: "users, webhooks and notifications that survive" is not there$/m);
  const mentions = globSync(['src/**/*.{ts,tsx}', 'worker-cron/**/*.ts'], { cwd: tree }).flatMap((path) =>
    readFileSync(join(tree, path), 'utf8')
      .split('\n')
      .filter((line) => USER.test(line) && !OTHERS.test(line))
      .map((line) => `${path}: ${line}`),
  );
  assert.deepEqual(mentions, []);
}

function addResources({ tree, attempt, run }: Tree) {
  // npm run test:clones covers the others.
  for (const command of everyKind('trial').slice(0, 2)) assert.match(run('new', ...command), /^Created src\//m);
  const before = readFileSync(join(tree, 'src/app.ts'), 'utf8');
  const again = attempt('new', 'trial-team', 'name:text');
  assert.equal(again.status, 1);
  assert.match(again.stderr, /^trial-teams is there already in src\/ or test\/$/m);
  assert.equal(readFileSync(join(tree, 'src/app.ts'), 'utf8'), before);
  const misspelled = attempt('new', 'thing', 'name:txt');
  assert.equal(misspelled.status, 1);
  assert.ok(!existsSync(join(tree, 'src/things')));
}

test('a clone without the example, and with resources of every kind of field, passes its checks and tests', {
  timeout: 600_000,
}, (t) => {
  const clone = treeWithTests(t);
  // A repository that is a clone may be ejected already, or changed where ejecting edits.
  const { scripts } = JSON.parse(readFileSync(join(clone.tree, 'package.json'), 'utf8'));
  if (!inClone && 'eject-example' in scripts) ejectExample(clone);
  addResources(clone);
  clone.run('check');
  const made = ['teams', 'people'].map((name) => `trial-${name}/trial-${name}`);
  const tests = [...made, 'house', 'openapi/document', 'notifications/store', 'conformance/node'];
  const stdout = clone.run('test', ...tests.map((name) => `test/${name}.test.ts`));
  // From the generated tests, and from the suite that a resource inherits.
  assert.match(stdout, /✔ a trial team is created with its event, found, listed, replaced and deleted/);
  assert.match(stdout, /▶ \/api\/v1\/trial-people/);
});
