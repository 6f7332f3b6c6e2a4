import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseEnv } from 'node:util';
import { variables } from '../../src/entry/config.ts';
import { envExample } from '../../src/entry/env-example.ts';
import { secretVerifier } from '../../src/platform/verify-jwt.ts';
import { SECRET } from '../support/deps.ts';
import { ownDirectory } from '../support/directories.ts';
import { COMMANDS, scriptOn } from '../support/runtimes.ts';
import { spawnService } from '../support/service.ts';

const root = join(import.meta.dirname, '../..');
const OTHER = SECRET.replaceAll(/./g, 'o');
const FILE = `# a comment\nJWT_SECRET="${SECRET}"\nRATE_LIMT_MAX=4711\nLOG_LEVEL=info # and another\n`;

for (const runtime of Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]) {
  describe(`.env on ${runtime}`, () => {
    /** Returns what `npm run token` prints in a folder with that file. */
    function token(cwd: string, env: Record<string, string> = {}): Promise<{ stdout: string; stderr: string }> {
      writeFileSync(join(cwd, '.env'), FILE);
      const [command, ...args] = scriptOn(runtime, 'src/entry/token.ts') as [string, ...string[]];
      const options = { cwd, env: { PATH: process.env.PATH, ...env } };
      return new Promise((resolve) => {
        execFile(command, [...args, '--sub', 'ada'], options, (_error, stdout, stderr) => resolve({ stdout, stderr }));
      });
    }

    test('is read in development', async (t) => {
      const { stdout } = await token(ownDirectory(t));
      assert.equal((await secretVerifier(SECRET, {})(stdout.trim())).sub, 'ada');
    });

    test('gives way to the environment', async (t) => {
      const { stdout } = await token(ownDirectory(t), { JWT_SECRET: OTHER });
      assert.equal((await secretVerifier(OTHER, {})(stdout.trim())).sub, 'ada');
    });

    test('is not read where the environment says APP_ENV=production', async (t) => {
      const { stdout, stderr } = await token(ownDirectory(t), { APP_ENV: 'production' });
      assert.equal(stdout, '');
      assert.match(stderr, /^JWT_SECRET or JWKS_URL must be set$/m);
    });

    test('is read by the service, which names a variable that is nearly one of its own', async (t) => {
      const service = spawnService({ NODE_ENV: 'production', LOG_LEVEL: 'warn' }, COMMANDS[runtime], { dotenv: FILE });
      t.after(() => service.stop());
      const { warnings } = await service.line(({ msg }) => msg === 'check the configuration');
      assert.deepEqual(warnings, [
        'RATE_LIMT_MAX is set and unknown: did you mean RATE_LIMIT_MAX?',
        'NODE_ENV=production has no effect without APP_ENV=production',
      ]);
      assert.doesNotMatch(service.output(), /4711/);
    });
  });
}

describe('.env.example', () => {
  const text = readFileSync(join(root, '.env.example'), 'utf8');

  test('is what npm run env:example writes', () => {
    assert.equal(text, envExample());
  });

  test('lists every variable, and copied as it is, sets none', () => {
    const names = Array.from(text.matchAll(/^#(\w+)=/gm), ([, name]) => name);
    assert.deepEqual(names, Object.keys(variables));
    assert.deepEqual(parseEnv(text), {});
  });

  test('is part of the repository, and what is copied from it is not', async () => {
    const ignored = await new Promise((resolve) => {
      execFile('git', ['check-ignore', '.env', '.dev.vars', '.env.example'], { cwd: root }, (_, stdout) => {
        resolve(stdout);
      });
    });
    assert.equal(ignored, '.env\n.dev.vars\n');
  });
});
