import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { collectAll, keepReleasingSpareMemory } from '../../src/platform/spare-memory.ts';

const MIB = 1024 * 1024;

/** Watches a new process in the given `state`; a garbage collection leaves `leftMib` unused. */
function watchStart(t: TestContext, { leftMib = 0 } = {}) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const state = { unusedMib: 0, utilization: 0, collections: 0 };
  keepReleasingSpareMemory({
    unusedBytes: () => state.unusedMib * MIB,
    utilization: () => state.utilization,
    collect: () => {
      state.collections++;
      state.unusedMib = leftMib;
    },
  });
  const pass = (seconds: number) => t.mock.timers.tick(seconds * 1000);
  return { state, pass };
}

/** The same after the collection that follows a start. */
function watch(t: TestContext, options?: { leftMib?: number }) {
  const { state, pass } = watchStart(t, options);
  pass(10);
  Object.assign(state, { unusedMib: 0, collections: 0 });
  pass(10);
  return { state, pass };
}

test('what a start needed is given back once, as soon as the process is nearly idle', (t) => {
  const { state, pass } = watchStart(t);
  Object.assign(state, { unusedMib: 20, utilization: 0.1 });
  pass(60);
  assert.equal(state.collections, 0);
  state.utilization = 0.01;
  pass(10);
  state.unusedMib = 20;
  pass(1000);
  assert.equal(state.collections, 1);
});

test('the memory of a peak is given back once the process is nearly idle, and not while it works', (t) => {
  const { state, pass } = watch(t);
  Object.assign(state, { unusedMib: 200, utilization: 0.1 });
  pass(60);
  assert.equal(state.collections, 0);
  state.utilization = 0.01;
  pass(10);
  assert.equal(state.collections, 1);
});

test('peaks that come again and again cost one collection in five minutes', (t) => {
  const { state, pass } = watch(t);
  for (let seconds = 0; seconds < 600; seconds += 10) {
    state.unusedMib = 200;
    pass(10);
  }
  assert.equal(state.collections, 2);
});

test('what a collection cannot give back is not asked for again, until it is gone of itself and comes again', (t) => {
  const { state, pass } = watch(t, { leftMib: 150 });
  state.unusedMib = 200;
  pass(1000);
  assert.equal(state.collections, 1);
  state.unusedMib = 20;
  pass(10);
  state.unusedMib = 150;
  pass(10);
  assert.equal(state.collections, 2);
});

test('a collection returns garbage to the system, and warns of nothing', async (t) => {
  const warned = t.mock.fn();
  process.on('warning', warned);
  t.after(() => process.off('warning', warned));
  let garbage: unknown[] = Array.from({ length: 1_000_000 }, (_, n) => ({ n }));
  const before = process.memoryUsage().heapTotal;
  garbage = [];
  collectAll();
  assert.equal(garbage.length, 0);
  assert.ok(process.memoryUsage().heapTotal < before - 16 * MIB);
  await new Promise(setImmediate);
  assert.equal(warned.mock.callCount(), 0);
});
