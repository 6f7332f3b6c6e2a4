import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { newEndpoint } from '../conformance/target.ts';
import { freshTree } from '../support/fresh-tree.ts';
import { spawnService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

test('npm run dev serves each change anew from the same data, survives a mistake, and stops in order', async (t) => {
  const tree = freshTree(t);
  // Restarts are orderly however busy the machine is.
  const script = join(tree, 'src/entry/dev.ts');
  const impatient = readFileSync(script, 'utf8');
  assert.match(impatient, /^const STOP_MS = 500;$/m);
  writeFileSync(script, impatient.replace('const STOP_MS = 500;', 'const STOP_MS = 60_000;'));
  const { dev = '' } = JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8')).scripts;
  const command = ['/bin/sh', '-c', `cd ${tree} && ${dev}`];
  const service = spawnService({ PATH: `${tree}/node_modules/.bin:${process.env.PATH}` }, command);
  t.after(() => service.stop());
  const listening = () => service.lines.filter(({ msg }) => msg === 'listening');
  const listeningAgain = async (change: () => void) => {
    const before = listening().length;
    const start = performance.now();
    change();
    await service.line(() => listening().length > before);
    t.diagnostic(`${Math.round(performance.now() - start)} ms from saving a file to listening`);
    return listening().at(-1)?.url as string;
  };
  const edit = (path: string, change: (text: string) => string) => {
    writeFileSync(join(tree, path), change(readFileSync(join(tree, path), 'utf8')));
  };

  const first = (await service.line(({ msg }) => msg === 'listening')).url as string;
  const endpoint = newEndpoint();
  const body = JSON.stringify(endpoint);
  const made = await fetch(`${first}/api/v1/webhook-endpoints`, { method: 'POST', headers: headers(), body });
  assert.equal(made.status, 201, await made.text());

  const changed = await listeningAgain(() => edit('src/system/routes.ts', (text) => text.replaceAll("'ok'", "'fine'")));
  assert.deepEqual(await (await fetch(`${changed}/health`)).json(), { status: 'fine' });
  const kept = (await (await fetch(`${changed}/api/v1/webhook-endpoints`, { headers: headers() })).json()) as {
    data: { url: string }[];
  };
  assert.deepEqual(
    kept.data.map(({ url }) => url),
    [endpoint.url],
  );
  assert.equal(service.lines.filter(({ msg }) => msg === 'database closed').length, 1, 'it stopped in order');

  const sound = readFileSync(join(tree, 'src/app.ts'), 'utf8');
  edit('src/app.ts', (text) => `${text}\nthrow new Error('a mistake');\n`);
  await service.line(({ msg }) => msg === 'cannot start');
  await listeningAgain(() => writeFileSync(join(tree, 'src/app.ts'), sound));

  await listeningAgain(() => writeFileSync(join(tree, '.env'), 'RATE_LIMT_MAX=1\n'));
  assert.ok(service.lines.some(({ msg }) => msg === 'check the configuration'));

  assert.equal(await service.stop('SIGINT'), 0, service.output());
  assert.ok(existsSync(join(tree, '.data/db')));
  assert.deepEqual(
    readdirSync(join(tree, '.data')).filter((name) => name.includes('.lock')),
    [],
  );
});
