import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BoundedMap } from '../src/bounded-map.ts';

test('past its limit a map forgets what was added first, and nothing for an entry that is replaced', () => {
  const map = new BoundedMap<string, number>(2);
  map.set('a', 1).set('b', 2).set('b', 3);
  assert.deepEqual(
    [...map],
    [
      ['a', 1],
      ['b', 3],
    ],
  );
  map.set('c', 4);
  assert.deepEqual(
    [...map],
    [
      ['b', 3],
      ['c', 4],
    ],
  );
});
