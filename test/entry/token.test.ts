import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { secretVerifier } from '../../src/platform/verify-jwt.ts';
import { SECRET } from '../support/deps.ts';
import { scriptOn } from '../support/runtimes.ts';

const [node, ...script] = scriptOn('node', 'src/entry/token.ts');

type Output = { code: number; stdout: string; stderr: string; cwd: string };

/** Runs what `npm run token` does, in an empty folder. */
function tokenCommand(t: TestContext, args: string[], env: Record<string, string> = {}): Promise<Output> {
  const cwd = mkdtempSync(join(tmpdir(), 'keelson-token-'));
  t.after(() => rmSync(cwd, { recursive: true, force: true }));
  const options = { cwd, env: { PATH: process.env.PATH, ...env } };
  return new Promise((resolve) => {
    execFile(node, [...script, ...args], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr, cwd }),
    );
  });
}

test('prints a token that works, and nothing else', async (t) => {
  const env = { JWT_SECRET: SECRET, JWT_ISSUER: 'https://issuer.example', JWT_AUDIENCE: 'keelson' };
  const args = ['--sub', 'alice', '--scope', 'webhooks:read webhooks:write'];
  const { code, stdout, stderr } = await tokenCommand(t, args, env);
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  const verify = secretVerifier(SECRET, { issuer: 'https://issuer.example', audience: 'keelson' });
  const { sub, scopes } = await verify(stdout.trim());
  assert.equal(sub, 'alice');
  assert.deepEqual([...scopes], ['webhooks:read', 'webhooks:write']);
});

test('uses the secret that the service generates in a fresh folder', async (t) => {
  const { code, stdout, cwd } = await tokenCommand(t, ['--sub', 'bob']);
  assert.equal(code, 0);
  const verify = secretVerifier(readFileSync(join(cwd, '.data/jwt-secret'), 'utf8'), {});
  assert.equal((await verify(stdout.trim())).sub, 'bob');
});

test('says how it is used, and why it cannot be', async (t) => {
  const wrong: [args: string[], env: Record<string, string>, why: RegExp][] = [
    [[], {}, /^usage: npm run token -- --sub/],
    [['--scope', 'webhooks:read'], {}, /^usage: /],
    [['--nope'], {}, /--nope/],
    [['--sub', 'a'], { JWKS_URL: 'https://issuer.example/keys' }, /JWKS_URL/],
    [['--sub', 'a'], { JWT_SECRET: 'tooshort', PORT: 'x' }, /^(PORT .*\nJWT_SECRET|JWT_SECRET .*\nPORT) .*\n$/],
  ];
  for (const [args, env, why] of wrong) {
    const { code, stdout, stderr } = await tokenCommand(t, args, env);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, why);
    assert.doesNotMatch(stderr, /tooshort|\n\s+at /);
  }
});
