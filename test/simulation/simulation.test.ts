import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from './history.ts';

const HISTORIES = 10_000;
/** Seeds that once broke a promise, and what was wrong. */
const ONCE_BROKEN: Record<string, number[]> = {
  'a slow delivery whose channel never settled was never given up on': [1],
  'an idle slow lane took the room of one that had something due': [8, 15, 29],
  'a lane that was looked at and full was asked for again and again': [55, 56],
  'a claim of few bytes took none, and was asked for again and again': [79],
  'bodies that were under way kept those of other lanes from being claimed': [127],
  'few bytes always went to the same lane': [106],
};

test(`${HISTORIES} histories keep every promise`, async (t) => {
  // Other histories each time; a seed that breaks a promise is printed.
  const first = Math.floor(Math.random() * 2 ** 31);
  t.diagnostic(`seeds ${first} to ${first + HISTORIES - 1}`);
  for (let seed = first; seed < first + HISTORIES; seed++) {
    const broken = await simulate(seed);
    assert.deepEqual(broken, [], `npm run test:simulation -- --seed ${seed}`);
  }
});

for (const [what, seeds] of Object.entries(ONCE_BROKEN)) {
  test(`not any more: ${what}`, async () => {
    for (const seed of seeds) assert.deepEqual(await simulate(seed), []);
  });
}
