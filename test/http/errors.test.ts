import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const post = async (path: string, body: string) => {
  const response = await app.request(path, { method: 'POST', headers: headers(), body }, testDeps());
  const text = await response.text();
  return { status: response.status, length: text.length, errors: JSON.parse(text).errors as { pointer: string }[] };
};

test('what is wrong with a body is told at a length that its sender does not decide', async () => {
  // 5,000 times a value that cannot be stored, below a name that is three times as long in a pointer.
  const long = `{"${'%'.repeat(32_000)}":[${Array(5_000).fill('9e999').join()}]}`;
  const lost = await post('/api/v1/notifications', `{"email":"a@example.com","type":"a.b","data":${long}}`);
  assert.equal(lost.status, 422);
  assert.ok(lost.errors.length >= 1 && lost.length < 110_000, `${lost.errors.length} errors, ${lost.length} letters`);

  const unknown = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`x${n}`, 1]));
  const many = await post('/api/v1/webhook-endpoints', JSON.stringify(unknown));
  assert.equal(many.status, 422);
  assert.equal(many.errors.length, 100);
});

test('each of a few values that cannot be kept is told of', async () => {
  const data = '{"a":9e999,"b":[9e999,1],"c":{"__proto__":1}}';
  const { errors } = await post('/api/v1/notifications', `{"email":"a@example.com","type":"a.b","data":${data}}`);
  assert.deepEqual(
    errors.map(({ pointer }) => pointer),
    ['#/data/a', '#/data/b/0', '#/data/c/__proto__'],
  );
});
