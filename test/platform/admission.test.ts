import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createAdmission } from '../../src/platform/admission.ts';

/** Asks for `count` works at once, each of which ends when it is told to. */
function asking(admit: ReturnType<typeof createAdmission>) {
  const begun: number[] = [];
  const ends = new Map<number, () => void>();
  let asked = 0;
  const ask = () => {
    const n = asked++;
    return admit(() => {
      begun.push(n);
      return new Promise<void>((resolve) => ends.set(n, resolve));
    });
  };
  return {
    begun,
    ask: (count: number) => Array.from({ length: count }, ask),
    async end(n: number) {
      ends.get(n)?.();
      await turn();
    },
  };
}

describe('admission', () => {
  test('requests begin a few at a time, in the order in which they came', async () => {
    const { begun, ask, end } = asking(createAdmission({ atOnce: 2, youngMs: 60_000 }));
    ask(5);
    assert.deepEqual(begun, [0, 1]);
    await end(1);
    assert.deepEqual(begun, [0, 1, 2]);
    await end(0);
    await end(2);
    assert.deepEqual(begun, [0, 1, 2, 3, 4]);
    await end(3);
    ask(2);
    assert.deepEqual(begun, [0, 1, 2, 3, 4, 5]);
  });

  test('what takes long holds up the others only for a moment, and does not count when it ends', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { begun, ask, end } = asking(createAdmission({ atOnce: 2, youngMs: 20 }));
    ask(7);
    t.mock.timers.tick(19);
    await turn();
    assert.deepEqual(begun, [0, 1]);
    t.mock.timers.tick(1);
    await turn();
    assert.deepEqual(begun, [0, 1, 2, 3]);
    await end(0);
    assert.deepEqual(begun, [0, 1, 2, 3], 'the two of this moment are under way');
    await end(2);
    assert.deepEqual(begun, [0, 1, 2, 3, 4]);
    t.mock.timers.tick(20);
    await turn();
    assert.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6]);
  });

  test('one that fails gives its place to the next, and its error to whoever asked', async () => {
    const admit = createAdmission({ atOnce: 1, youngMs: 60_000 });
    const first = admit(() => Promise.reject(new Error('no')));
    const second = admit(async () => 'yes');
    await assert.rejects(first, /^Error: no$/);
    assert.equal(await second, 'yes');
  });
});
