import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inClone } from '../support/clone.ts';
import { treeWithTests } from '../support/clones.ts';

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
