import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createAdmission } from '../../src/platform/admission.ts';

const MIN_CONCURRENCY = 64;

describe('admission', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => mock.timers.reset());

  /** Work that ends when it is told to, admitted by a process that is as busy as `set` says. */
  function working() {
    let busy = 1;
    const admit = createAdmission(() => busy);
    const begun: number[] = [];
    const ends: (() => void)[] = [];
    let asked = 0;
    return {
      begun,
      set(utilization: number) {
        busy = utilization;
      },
      ask(count: number) {
        for (let i = 0; i < count; i++) {
          const n = asked++;
          void admit(() => {
            begun.push(n);
            return new Promise<void>((resolve) => ends.push(resolve));
          });
        }
      },
      async end(count: number) {
        for (const resolve of ends.splice(0, count)) resolve();
        await turn();
      },
      async look(times = 1) {
        for (let i = 0; i < times; i++) {
          mock.timers.tick(5);
          await turn();
        }
      },
    };
  }

  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

  test('while the process is busy requests begin few at a time, in the order in which they came', async () => {
    const { begun, ask, end, look } = working();
    ask(MIN_CONCURRENCY + 5);
    await look(3);
    assert.deepEqual(begun, upTo(MIN_CONCURRENCY));
    await end(2);
    assert.deepEqual(begun, upTo(MIN_CONCURRENCY + 2));
    ask(1);
    assert.deepEqual(begun, upTo(MIN_CONCURRENCY + 2), 'it came last');
    await end(10);
    assert.deepEqual(begun, upTo(MIN_CONCURRENCY + 6));
  });

  test('while it has time, nobody waits long for those that take long', async () => {
    const { begun, ask, set, look } = working();
    set(0);
    ask(5000);
    await look(7);
    assert.deepEqual(begun, upTo(5000));
  });

  test('while it is busy, too, nobody waits long for those that wait for something else', async () => {
    const { begun, ask, end, look } = working();
    ask(3 * MIN_CONCURRENCY + 1);
    await look(19);
    assert.equal(begun.length, MIN_CONCURRENCY);
    await look(21);
    assert.equal(begun.length, 2 * MIN_CONCURRENCY);
    await look(40);
    assert.equal(begun.length, 3 * MIN_CONCURRENCY);
    await end(2 * MIN_CONCURRENCY);
    assert.equal(begun.length, 3 * MIN_CONCURRENCY, 'their places were given away before');
    await end(1);
    assert.equal(begun.length, 3 * MIN_CONCURRENCY + 1);
  });

  test('once it is busy again, few begin again', async () => {
    const { begun, ask, set, end, look } = working();
    set(0.1);
    ask(1000);
    await look(2);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY);
    set(1);
    await look(20);
    await end(3 * MIN_CONCURRENCY);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY);
    await end(1);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY + 1);
  });

  test('few begin again though nobody had to wait meanwhile', async () => {
    const { begun, ask, set, end, look } = working();
    set(0);
    ask(4 * MIN_CONCURRENCY);
    await look(2);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY);
    set(1);
    await look(20);
    ask(1);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY);
    await end(3 * MIN_CONCURRENCY + 1);
    assert.equal(begun.length, 4 * MIN_CONCURRENCY + 1);
  });

  test('one that fails gives its place to the next, and its error to whoever asked', async () => {
    const admit = createAdmission(() => 1);
    const failing = Array.from({ length: MIN_CONCURRENCY }, () => admit(() => Promise.reject(new Error('no'))));
    const last = admit(async () => 'yes');
    for (const each of failing) await assert.rejects(each, /^Error: no$/);
    assert.equal(await last, 'yes');
  });
});
