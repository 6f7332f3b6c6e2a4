import assert from 'node:assert/strict';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inClone } from '../support/clone.ts';
import { treeWithTests } from '../support/clones.ts';

/** Words that have nothing to do with the example: of URLs, of HTTP, of Postgres, of SQL. */
const OTHERS = /user-agent|username|user name|database, its user|failed for user|unique user using/i;

test('npm run eject-example leaves a service without users, whose checks pass and which does its job', {
  skip: inClone,
}, (t) => {
  const { tree, run } = treeWithTests(t);
  // A clone may have pages of its own.
  const readme = join(tree, 'README.md');
  writeFileSync(readme, readFileSync(readme, 'utf8').replace('users, webhooks and notifications', 'webhooks'));
  const said = run('eject-example');
  assert.match(said, /^README\.md: "users, webhooks and notifications that survive" is not there$/m);
  run('check');
  const mentions = globSync(['src/**/*.{ts,tsx}', 'worker-cron/**/*.ts'], { cwd: tree }).flatMap((path) =>
    readFileSync(join(tree, path), 'utf8')
      .split('\n')
      .filter((line) => /user/i.test(line) && !OTHERS.test(line))
      .map((line) => `${path}: ${line}`),
  );
  assert.deepEqual(mentions, []);
  const tests = ['openapi/document', 'notifications/store', 'conformance/node', 'house'];
  run('test', ...tests.map((name) => `test/${name}.test.ts`));
});

test('npm run eject-example changes nothing where a text that it replaces was changed, and says which', {
  skip: inClone,
}, (t) => {
  const { tree, attempt } = treeWithTests(t);
  const path = join(tree, 'src/entry/welcome.ts');
  writeFileSync(path, readFileSync(path, 'utf8').replace("'Create a user:'", "'Try it:'"));
  const { status, stderr } = attempt('eject-example');
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^Nothing was changed\.\nsrc\/entry\/welcome\.ts: "'Create a user:'" is there 0 times: change it by hand/m,
  );
  assert.match(readFileSync(join(tree, 'src/app.ts'), 'utf8'), /usersRoutes/);
});

test('npm run eject-example changes nothing where another resource refers to users, and says which', {
  skip: inClone,
}, (t) => {
  const { tree, attempt, run } = treeWithTests(t);
  run('new', 'team', 'owner:user.id');
  const { status, stderr } = attempt('eject-example');
  assert.equal(status, 1);
  assert.match(
    stderr,
    /^Nothing was changed\.\nsrc\/teams\/schema\.ts imports from users\/: remove that reference first$/m,
  );
  assert.match(readFileSync(join(tree, 'src/app.ts'), 'utf8'), /usersRoutes/);
});
