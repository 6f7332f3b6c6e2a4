import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigError } from '../../src/entry/config.ts';
import { withDevelopmentSecrets } from '../../src/entry/development-secrets.ts';
import { SECRET } from '../support/deps.ts';
import { ownDirectory } from '../support/directories.ts';

/** Changes to a new folder, and returns how to list its contents. */
function inFolder(t: TestContext): () => string[] {
  const [before, folder] = [process.cwd(), ownDirectory(t)];
  process.chdir(folder);
  t.after(() => process.chdir(before));
  return () => readdirSync(folder, { recursive: true }).map(String).sort();
}

test('a configuration that is refused leaves nothing behind', (t) => {
  const files = inFolder(t);
  assert.throws(() => withDevelopmentSecrets({ LOG_LEVEL: 'loud', PORT: 'x' }), ConfigError);
  assert.deepEqual(files(), []);
});

test('what is set is not generated, and what is generated is the same the next time', (t) => {
  const files = inFolder(t);
  const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
  assert.deepEqual(withDevelopmentSecrets({ JWT_SECRET: SECRET, SECRETS_KEY }), { JWT_SECRET: SECRET, SECRETS_KEY });
  assert.deepEqual(withDevelopmentSecrets({ APP_ENV: 'production' }), { APP_ENV: 'production' });
  assert.deepEqual(files(), []);
  const first = withDevelopmentSecrets({ SECRETS_KEY });
  assert.deepEqual(files(), ['.data', join('.data', 'jwt-secret')]);
  assert.deepEqual(withDevelopmentSecrets({ SECRETS_KEY }), first);
});
