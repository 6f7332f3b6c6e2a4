import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idOf } from '../../src/http/route.ts';

test('an id is the same in upper case, and what is none is told in the words of whoever asks for it', () => {
  const id = '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const owner = idOf('must be the id of an owner');
  for (const written of [id, id.toUpperCase()]) assert.equal(owner.parse(written), id);
  for (const other of ['', 'x', `${id}0`, 7, null, [id]]) {
    const { error } = owner.safeParse(other);
    assert.deepEqual(
      error?.issues.map(({ message }) => message),
      ['must be the id of an owner'],
    );
  }
});
