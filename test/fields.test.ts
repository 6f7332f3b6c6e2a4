import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod/mini';
import { id, instant, integer, json, text } from '../src/fields.ts';

test('an id is the same in upper case, and what is none is told in the words of whoever asks for it', () => {
  const some = '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const owner = id('must be the id of an owner');
  for (const written of [some, some.toUpperCase()]) assert.equal(owner.parse(written), some);
  for (const other of ['', 'x', `${some}0`, 7, null, [some]]) {
    const { error } = owner.safeParse(other);
    assert.deepEqual(
      error?.issues.map(({ message }) => message),
      ['must be the id of an owner'],
    );
  }
});

test('a time is taken with any offset, and becomes UTC to the millisecond', () => {
  const time = instant();
  assert.equal(time.parse('2026-11-22T11:00:00+01:00'), '2026-11-22T10:00:00.000Z');
  assert.equal(time.parse('2026-11-22T10:00:00.123456Z'), '2026-11-22T10:00:00.123Z');
  assert.equal(time.parse('0001-01-01T00:00:00Z'), '0001-01-01T00:00:00.000Z');
  // Times that Postgres does not have, or that RFC 3339 cannot express in UTC.
  const never = ['0000-06-01T00:00:00Z', '0001-01-01T00:00:00+01:00', '9999-12-31T23:59:59-01:00'];
  for (const other of [...never, '2026-02-30T00:00:00Z', '2026-11-22T10:00:00', '2026-11-22', '', 7, null]) {
    assert.ok(!time.safeParse(other).success, String(other));
  }
});

test('a whole number is one that Postgres has', () => {
  for (const some of [0, -1, 2 ** 31 - 1, -(2 ** 31)]) assert.equal(integer().parse(some), some);
  for (const other of [2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN, '1', null])
    assert.ok(!integer().safeParse(other).success);
});

test('a JSON object is kept as it was sent, within its bytes and levels', () => {
  const some = { a: [1, { b: null }], é: '\0' };
  assert.deepEqual(json(100).parse(some), some);
  for (const other of [[], 'x', null, 7, { a: 'x'.repeat(100) }, JSON.parse('{"a":{"__proto__":1}}')]) {
    assert.ok(!json(100).safeParse(other).success, JSON.stringify(other));
  }
  let deep: object = {};
  for (let i = 0; i < 101; i++) deep = { deep };
  assert.ok(!json(100_000).safeParse(deep).success);
});

test('a member that is missing or of another type is told in words', () => {
  const schema = z.strictObject({ name: text(1, 200), done: z.boolean(), events: z.array(z.string()) });
  const messagesFor = (value: unknown) => schema.safeParse(value).error?.issues.map(({ message }) => message);
  assert.deepEqual(messagesFor({ name: 7, done: 'yes' }), [
    'Invalid input: expected string, received number',
    'Invalid input: expected boolean, received string',
    'Invalid input: expected array, received undefined',
  ]);
  assert.deepEqual(messagesFor([]), ['Invalid input: expected object, received array']);
});
