import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hono } from 'hono';
import { app } from '../../src/app.ts';
import { literalFirst } from '../../src/http/literal-first.ts';
import { testDeps } from '../support/deps.ts';

test('a literal path is found before one with a parameter, and middleware runs for both, in order', async () => {
  const some = new Hono({ router: literalFirst() });
  some.use(async (c, next) => {
    await next();
    c.header('X-Seen', 'all');
  });
  some.post('/things/redrive', (c) => c.text('all things'));
  some.post('/things/:id/redrive', (c) => c.text(`thing ${c.req.param('id')}`));
  some.get('/things/:id', (c) => c.text(`read ${c.req.param('id')}`));
  for (const [method, path, status, text] of [
    ['POST', '/things/redrive', 200, 'all things'],
    ['POST', '/things/7/redrive', 200, 'thing 7'],
    ['GET', '/things/redrive', 404, '404 Not Found'],
    ['GET', '/things/7', 200, 'read 7'],
    ['GET', '/nothing', 404, '404 Not Found'],
  ] as const) {
    const answer = await some.request(path, { method });
    assert.deepEqual([answer.status, await answer.text()], [status, text], `${method} ${path}`);
    assert.equal(answer.headers.get('X-Seen'), 'all');
  }
});

test('regular expressions find every path of the app: none needs the tree, which takes longer', async () => {
  const { router } = app as unknown as { router: ReturnType<typeof literalFirst> };
  await app.request('/health', {}, testDeps());
  await app.request('/problems/conflict', {}, testDeps());
  assert.deepEqual(
    router.halves.map(({ activeRouter }) => activeRouter.name),
    ['RegExpRouter', 'RegExpRouter'],
  );
});
