import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';

const bin = join(import.meta.dirname, '../node_modules/.bin');
const directory = mkdtempSync(join(tmpdir(), 'keelson-lint-'));
after(() => rmSync(directory, { recursive: true }));

const ruleset = join(directory, 'ruleset.yaml');
writeFileSync(ruleset, 'extends: ["spectral:oas"]\n');
const text = await (await app.request('/openapi.json', {}, testDeps())).text();

const linters = {
  redocly: (file: string) => ['redocly', 'lint', file, '--extends', 'recommended', '--format', 'json'],
  spectral: (file: string) => [
    'spectral',
    'lint',
    file,
    '--ruleset',
    ruleset,
    '--quiet',
    '--fail-severity',
    'hint',
    '--format',
    'json',
  ],
};

function lint(name: keyof typeof linters, document: string) {
  const file = join(directory, `${name}.json`);
  writeFileSync(file, document);
  const [command, ...args] = linters[name](file) as [string, ...string[]];
  const env = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(bin, command), ...args], {
    cwd: directory,
    env,
    encoding: 'utf8',
  });
  const json = JSON.parse(stdout.slice(stdout.search(/[[{]/)));
  return { status, findings: Array.isArray(json) ? json : json.problems, output: stdout + stderr };
}

for (const name of Object.keys(linters) as (keyof typeof linters)[]) {
  describe(`the linter ${name}, with its recommended rules`, () => {
    test('has nothing to say of the description', () => {
      const { status, findings, output } = lint(name, text);
      assert.deepEqual(findings, [], output);
      assert.equal(status, 0, output);
    });

    test('would have, if there were something', () => {
      const document = JSON.parse(text);
      document.paths['/health'].get.operationId = 'createWebhookEndpoint';
      document.paths['/health'].get.responses = {};
      assert.ok(lint(name, JSON.stringify(document)).findings.length >= 2);
    });
  });
}
