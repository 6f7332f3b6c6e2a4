import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { killRounds } from './kill.ts';

// The short form of npm run test:soak.
test('dispatchers are killed at random moments: nothing is lost, and what comes twice was in flight at a kill', async (t) => {
  const seed = randomInt(2 ** 31);
  t.diagnostic(`seed ${seed}`);
  const figures = await killRounds({ rounds: 8, perRound: 250, seed });
  t.diagnostic(JSON.stringify(figures));
  assert.ok((figures.reclaimed as number) > 0, 'no kill met anything in flight, so that this has shown nothing');
});
