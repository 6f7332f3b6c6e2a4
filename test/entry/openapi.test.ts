import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';
import { scriptOn } from '../support/runtimes.ts';

const [node, ...script] = scriptOn('node', 'src/entry/openapi.ts');
const cwd = mkdtempSync(join(tmpdir(), 'keelson-openapi-'));
after(() => rmSync(cwd, { recursive: true }));

const openapi = (...args: string[]) => spawnSync(node, [...script, ...args], { cwd, encoding: 'utf8', env: {} });

test('npm run openapi writes what the service answers, without a database or a configuration', async () => {
  const served = await (await app.request('/openapi.json', {}, testDeps())).json();
  const { status, stdout, stderr } = openapi();
  assert.deepEqual([status, stdout, stderr], [0, '', 'Wrote openapi.json\n']);
  assert.equal(openapi('api.json').status, 0);
  const printed = openapi('--stdout');
  assert.deepEqual([printed.status, printed.stderr], [0, '']);
  for (const text of [
    printed.stdout,
    ...['openapi.json', 'api.json'].map((name) => readFileSync(join(cwd, name), 'utf8')),
  ]) {
    assert.deepEqual(JSON.parse(text), served);
  }
  assert.deepEqual(readdirSync(cwd).sort(), ['api.json', 'openapi.json']);
});

test('npm run openapi says how it is used, and what went wrong', () => {
  const wrong: [args: string[], why: RegExp][] = [
    [['a.json', 'b.json'], /^usage: npm run openapi/],
    [['a.json', '--stdout'], /^usage: /],
    [['missing/openapi.json'], /ENOENT/],
  ];
  for (const [args, why] of wrong) {
    const { status, stdout, stderr } = openapi(...args);
    assert.deepEqual([status, stdout], [1, '']);
    assert.match(stderr, why);
  }
});
