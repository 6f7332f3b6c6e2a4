import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadedAssets } from '../../src/platform/assets-loaded.ts';
import { workersAssets } from '../../src/platform/assets-workers.ts';
import { inTime } from '../support/deps.ts';

test('a static file is loaded once; one that cannot be read is tried again at the next request', async () => {
  let loads = 0;
  const assets = loadedAssets({
    'a.js': async () => {
      loads++;
      if (loads === 1) throw new Error('too many open files');
      return 'text';
    },
  });
  await assert.rejects(assets('a.js', inTime()), /too many open files/);
  const [one, other] = await Promise.all([assets('a.js', inTime()), assets('a.js', inTime())]);
  assert.equal(one, other);
  assert.equal(loads, 2);
  assert.match(one?.etag ?? '', /^"[\w-]{43}"$/);
  for (const name of ['b.js', 'constructor', '__proto__', '']) assert.equal(await assets(name, inTime()), undefined);
});

test('on Workers a name stays one segment of a path, and only a 404 of the binding means that there is no file', async () => {
  const asked: string[] = [];
  const answers = [new Response('text', { headers: { ETag: '"1"' } }), new Response('', { status: 404 })];
  const assets = workersAssets({
    fetch: async (url) => {
      asked.push(url);
      return answers.shift() ?? new Response('', { status: 500 });
    },
  });
  const found = await assets('a.js', inTime());
  assert.deepEqual([await new Response(found?.body).text(), found?.etag], ['text', '"1"']);
  assert.equal(await assets('../a?b#c/..', inTime()), undefined);
  await assert.rejects(assets('a.js', inTime()), /responded 500/);
  assert.deepEqual(
    asked.map((url) => new URL(url).pathname),
    ['/a.js', '/..%2Fa%3Fb%23c%2F..', '/a.js'],
  );
});
