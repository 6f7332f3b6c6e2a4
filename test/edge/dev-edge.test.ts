import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { newNotice } from '../conformance/target.ts';
import { freePort } from '../support/postgres-server.ts';
import { scriptOn } from '../support/runtimes.ts';
import { tokenIn } from '../support/service.ts';
import { startSink } from '../support/sink.ts';

const [node, ...args] = scriptOn('node', 'src/entry/dev-edge.ts');

test('dev:edge serves, delivers within a second, fires its cron trigger, and leaves nothing behind', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-edge-'));
  // The first is for the Workers, with a variable that they do not know; the second is for every runtime.
  writeFileSync(join(directory, '.dev.vars'), 'RATE_LIMIT_MAX=7\nRATE_LIMT_WINDOW_S=60\nLOG_LEVEL=info\n');
  writeFileSync(join(directory, '.env'), 'LOG_LEVEL=error\n');
  const port = await freePort();
  const sink = await startSink();
  const child = spawn(node, args, {
    cwd: directory,
    env: { PATH: process.env.PATH, HOME: directory, PORT: String(port), DEV_CRON_S: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGTERM');
    await ended;
    await sink.close();
    rmSync(directory, { recursive: true, force: true });
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const said = async (text: RegExp) => {
    while (!text.test(output)) {
      await Promise.race([once(child.stdout, 'data'), ended.then(() => assert.fail(`ended:\n${output}`))]);
    }
    return text.exec(output)?.[1] as string;
  };

  const cron = await said(/^curl '(\S+scheduled)'$/m);
  const url = `http://127.0.0.1:${port}`;
  const link = await said(/^Console: (\S+)$/m);
  const signedIn = await fetch(link, {
    method: 'POST',
    headers: { 'Sec-Fetch-Site': 'same-origin', 'Content-Type': 'application/x-www-form-urlencoded' },
    redirect: 'manual',
  });
  const [cookie = ''] = signedIn.headers.get('set-cookie')?.split(';') ?? [];
  const overview = await fetch(`${url}/console`, { headers: { Cookie: cookie } });
  assert.deepEqual([signedIn.status, /<h1>Overview/.test(await overview.text())], [303, true]);

  const headers = { Authorization: `Bearer ${tokenIn(output)}`, 'Content-Type': 'application/json' };
  const post = (path: string, body: unknown) =>
    fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  const hook = await post('/api/v1/webhook-endpoints', { url: sink.url('/hook'), events: ['order.sent'] });
  assert.equal(hook.status, 201, await hook.text());
  assert.equal((await post('/api/v1/notifications', newNotice())).status, 202);
  assert.match(await (await fetch(`${url}/assets/docs.js`)).text(), /SwaggerUIBundle/);
  const [told] = await sink.received('/hook');
  assert.ok(told?.headers['webhook-signature']);
  assert.match(hook.headers.get('ratelimit-policy') ?? '', /q=7;/);
  const warned = output
    .split('\n')
    .filter((line) => line.startsWith('{') && line.includes('RATE_LIMT_WINDOW_S is set'));
  assert.equal(warned.length, 2, output);
  const fired = await fetch(cron);
  assert.deepEqual([fired.status, await fired.text()], [200, 'ok']);

  const children = childrenOf(child.pid as number);
  assert.ok(children.length > 1, 'wrangler and workerd');
  child.kill('SIGINT');
  const [code] = await ended;
  assert.equal(code, 0, output);
  const left = processes().filter(({ pid }) => children.includes(pid));
  assert.deepEqual(left, []);
  await assert.rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });
});

type Row = { pid: number; parent: number };

/** Returns all processes except zombies. */
function processes(): Row[] {
  const rows = execFileSync('ps', ['-eo', 'pid=,ppid=,stat='], { encoding: 'utf8' }).trim().split('\n');
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , state]) => !state?.startsWith('Z'))
    .map(([pid, parent]) => ({ pid: Number(pid), parent: Number(parent) }));
}

/** The processes below `pid`, at any depth. */
function childrenOf(pid: number, all = processes()): number[] {
  return all.filter(({ parent }) => parent === pid).flatMap((child) => [child.pid, ...childrenOf(child.pid, all)]);
}
