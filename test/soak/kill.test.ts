import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { killRounds } from './kill.ts';

// The short form of npm run test:soak.
test('dispatchers are killed at random moments: nothing is lost, and what comes twice was in flight at a kill', async (t) => {
  // Kills that meet nothing in flight prove nothing: then try once more.
  for (let left = 3; left > 0; left--) {
    const seed = randomInt(2 ** 31);
    t.diagnostic(`seed ${seed}`);
    const figures = await killRounds({ rounds: 8, perRound: 250, seed });
    t.diagnostic(JSON.stringify(figures));
    if ((figures.reclaimed as number) > 0) return;
  }
  assert.fail('no kill met anything in flight');
});
