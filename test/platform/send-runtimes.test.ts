// Node, Deno and Bun share one sender: what is tested on Node holds on the others.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startNameServer } from '../support/name-server.ts';
import { COMMANDS, scriptOn } from '../support/runtimes.ts';
import { selfSigned } from '../support/self-signed.ts';

const run = promisify(execFile);
const FILES = ['send-sockets', 'resolve'].map((name) => join(import.meta.dirname, `${name}.test.ts`));
/** Excludes the tests of fetch, which is for Workers; Deno's patterns cannot express "not". */
const OURS = '^(f[^e]|[^f])';

test('Deno: what a sender and its names are tested for', async () => {
  const flags = ['--no-check', '--node-modules-dir=manual', '--filter', `/${OURS}/`];
  const { stdout } = await run(COMMANDS.deno[0] as string, ['test', '-A', ...flags, ...FILES]);
  assert.ok(Number(/(\d+) passed/.exec(stdout)?.[1]) > 30, stdout);
});

test('Bun: what a sender and its names are tested for', async () => {
  const { stderr } = await run(COMMANDS.bun[0] as string, [
    'test',
    '--timeout',
    '60000',
    '--test-name-pattern',
    OURS,
    ...FILES,
  ]);
  assert.ok(Number(/(\d+) pass/.exec(stderr)?.[1]) > 30, stderr);
});

test('everywhere a certificate must be for the name, not for where it leads', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-ca-'));
  const names = await startNameServer(() => ['127.0.0.1']);
  const { key, cert } = selfSigned('DNS:right.example');
  const server = createServer({ key, cert }, (_, response) => response.end());
  t.after(() => {
    rmSync(directory, { recursive: true });
    names.close();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const ca = join(directory, 'ca.pem');
  writeFileSync(ca, cert);
  const { port } = server.address() as AddressInfo;
  const urls = ['right.example', 'wrong.example', '127.0.0.1'].map((host) => `https://${host}:${port}/`);
  for (const runtime of ['node', 'deno', 'bun'] as const) {
    const [command, ...args] = scriptOn(runtime, 'test/support/send-once.ts') as [string, ...string[]];
    const { stdout } = await run(command, [...args, ca, names.address, ...urls]);
    const refused = 'invalid TLS certificate';
    assert.deepEqual(stdout.trim().split('\n'), ['200', refused, refused], runtime);
  }
});
