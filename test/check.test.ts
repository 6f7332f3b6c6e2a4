import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { freshTree } from './support/fresh-tree.ts';

const root = join(import.meta.dirname, '..');

function run(cwd: string, ...args: [string, ...string[]]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(args[0], args.slice(1), { cwd }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, output: stdout + stderr }),
    );
  });
}

test('after npm ci alone, an editor finds nothing wrong with the types of src/ and worker-cron/', async (t) => {
  const tree = freshTree(t);
  const files = ['src/app.ts', 'src/entry/main.ts', 'src/entry/workers.ts', 'src/entry/dev-edge-front.ts'];
  files.push('src/platform/db-postgres.ts', 'worker-cron/index.ts', 'worker-cron/drain.ts', 'drizzle.config.ts');
  const server = join(root, 'test/node_modules/typescript/lib/tsserver.js');
  const child = spawn(process.execPath, [server, '--disableAutomaticTypingAcquisition'], { cwd: tree });
  t.after(() => child.kill());
  const told: Record<string, unknown> = {};
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = line.startsWith('{') && JSON.parse(line);
    const file = message.type === 'response' && files[message.request_seq];
    if (!file) return;
    const diagnostics = message.body as { text: string }[] | undefined;
    told[file] = diagnostics?.map(({ text }) => text) ?? message.message;
    if (Object.keys(told).length === files.length) child.stdin.end();
  });
  for (const [seq, name] of files.entries()) {
    const file = join(tree, name);
    for (const request of [
      { command: 'open', seq: -1 },
      { command: 'semanticDiagnosticsSync', seq },
    ]) {
      child.stdin.write(`${JSON.stringify({ ...request, type: 'request', arguments: { file } })}\n`);
    }
  }
  await once(child, 'close');
  assert.deepEqual(told, Object.fromEntries(files.map((file) => [file, []])));
  assert.deepEqual(await run(tree, 'tsc', '-p', '.'), { code: 0, output: '' });
});

test('npm run check names what is wrong, each in its own words, and changes nothing', async (t) => {
  const tree = freshTree(t);
  symlinkSync(join(root, 'test/node_modules'), join(tree, 'test/node_modules'));
  const planted = join(tree, 'src/http/planted.ts');
  const text = 'export const  size: number = "large"\n';
  writeFileSync(planted, text);
  const { code, output } = await run(tree, process.execPath, 'test/check.ts');
  assert.equal(code, 1);
  const [, failed = ''] = /^Failed: (.+)$/m.exec(output) ?? [];
  const expected = ['format and lint', 'types', 'types of the core, which knows no runtime', 'unused code'];
  for (const title of expected) assert.ok(failed.includes(title), output);
  assert.match(output, /^# types of the Workers: ok/m);
  assert.match(output, /src\/http\/planted\.ts\(1,15\): error TS2322/);
  assert.equal(readFileSync(planted, 'utf8'), text);
  assert.equal((await run(tree, process.execPath, 'test/check.ts', 'types')).code, 1, 'and again');
});
