import assert from 'node:assert/strict';
import { test } from 'node:test';
import { id } from '../src/fields.ts';

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
