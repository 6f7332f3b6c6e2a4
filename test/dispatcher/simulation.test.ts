import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulate } from '../simulation/history.ts';
import { startCommand } from '../support/command.ts';
import { scriptOn } from '../support/runtimes.ts';

const HISTORIES = 10_000;
/** Seeds that once broke a promise, by what was wrong; each breaks it again if that fault returns. */
const ONCE_BROKEN: Record<string, number[]> = {
  'a slow delivery whose channel never settled was never given up on': [1, 53, 56],
  'a lane that turned slow during a claim kept what it got, and with it the room of others': [1705988246],
  'idle slow lanes took the room of one that had something due, and claims went on for ever': [8, 15, 29],
};

// In a separate process: the test runner watches every promise, so that a history takes two and a half times as long.
test(`${HISTORIES} histories keep every promise`, async (t) => {
  const {
    process: child,
    ended,
    output,
    errors,
  } = startCommand([...scriptOn('node', 'test/simulation/run.ts'), '--count', String(HISTORIES)], {
    cwd: import.meta.dirname,
  });
  t.after(() => child.kill('SIGKILL'));
  const code = await ended;
  t.diagnostic(output().trim());
  const first = errors().split('\n').slice(0, 10).join('\n');
  assert.equal(code, 0, `${first}\nnpm run test:simulation -- --seed N runs one again`);
  assert.match(output(), new RegExp(`^${HISTORIES} histories .* 0 broken promises$`, 'm'));
});

for (const [what, seeds] of Object.entries(ONCE_BROKEN)) {
  test(`not any more: ${what}`, async () => {
    for (const seed of seeds) assert.deepEqual(await simulate(seed), []);
  });
}
