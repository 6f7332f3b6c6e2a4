import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AppError } from '../../src/errors.ts';
import { parseKey } from '../../src/http/idempotency.ts';

const refused = (error: unknown) => error instanceof AppError && error.code === 'invalid-idempotency-key';

describe('an Idempotency-Key', () => {
  test('is a quoted string, with its escapes undone', () => {
    assert.equal(parseKey('"8e03978e-40d5-43dd-bc93"'), '8e03978e-40d5-43dd-bc93');
    assert.equal(parseKey('" two words, {even} these! "'), ' two words, {even} these! ');
    assert.equal(parseKey(String.raw`"a\"b\\c"`), String.raw`a"b\c`);
    assert.equal(parseKey(`"${'x'.repeat(255)}"`).length, 255);
  });

  test('is a bare token too, and then the same key as when quoted', () => {
    for (const key of ['a', '8e03978e-40d5-43dd-bc93', 'A.b_c~d:e-0', 'x'.repeat(255)]) {
      assert.equal(parseKey(key), key);
      assert.equal(parseKey(`"${key}"`), key);
    }
  });

  test('is nothing else', () => {
    const bad = ['', '""', '"', 'a"', '"a', '"a"b"', 'two words', 'a,b', '"a", "b"', '"a";p=1', "'a'", 'é', '"é"'];
    const worse = [
      '"a\tb"',
      '"a\u007f"',
      '"a\0"',
      '"\\a"',
      '"\\"',
      `"${'x'.repeat(256)}"`,
      'x'.repeat(256),
      ' a',
      '"a" ',
    ];
    for (const header of [...bad, ...worse]) assert.throws(() => parseKey(header), refused, JSON.stringify(header));
  });
});
