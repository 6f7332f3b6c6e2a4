import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inClone } from './support/clone.ts';

const read = (file: string) => readFileSync(join(import.meta.dirname, '..', file), 'utf8');
const { name, version, keelson } = JSON.parse(read('package.json'));

test('the lock file has the name and the version of package.json', () => {
  const lock = JSON.parse(read('package-lock.json'));
  for (const entry of [lock, lock.packages['']]) {
    assert.deepEqual({ name: entry.name, version: entry.version }, { name, version });
  }
});

// A clone has a changelog and a version of its own; `keelson.version` says what it came from.
test('the newest version of CHANGELOG.md is that of package.json', { skip: inClone }, () => {
  const newest = /^## (\S+)/m.exec(read('CHANGELOG.md'))?.[1];
  assert.deepEqual({ version, keelson }, { version: newest, keelson: { version: newest } });
});
