import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { type TestContext, test } from 'node:test';
import { superviseWorkers } from '../../src/platform/processes.ts';
import { silent } from '../support/deps.ts';

/** Fake processes that do what a test says, with a clock that advances when it says so. */
function world(t: TestContext, count: number) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const started: EventEmitter[] = [];
  const processes = superviseWorkers({
    count,
    fork: () => {
      // Without a process id, so that nothing is signaled.
      const child = Object.assign(new EventEmitter(), { pid: 0, connected: false });
      started.push(child);
      return child as unknown as ChildProcess;
    },
    log: silent,
    onDeath: () => {},
  });
  let end: string | undefined;
  processes.broken.catch((error) => {
    end = error.message;
  });
  processes.start();
  const listens = (child: EventEmitter) =>
    child.emit('message', { listening: { url: 'http://x', scopes: '', signIn: undefined } });
  for (const child of started) listens(child);
  return {
    started,
    /** Lets the newest process listen, then end. */
    async ends(code: number | null, signal: string | null) {
      const child = started.at(-1) as EventEmitter;
      listens(child);
      child.emit('exit', code, signal);
      await Promise.resolve();
    },
    pass: (ms: number) => t.mock.timers.tick(ms),
    why: () => end,
  };
}

test('workers that fail soon after they listen are replaced after a delay, and given up on', async (t) => {
  const { started, ends, pass, why } = world(t, 1);
  for (const [code, signal] of [
    [1, null],
    [null, 'SIGABRT'],
    [null, 'SIGSEGV'],
    [7, null],
  ] as const) {
    const before = started.length;
    await ends(code, signal);
    assert.equal(started.length, before, 'not at once');
    pass(4000);
    assert.equal(started.length, before + 1);
  }
  assert.equal(why(), undefined);
  await ends(1, null);
  assert.match(String(why()), /5 workers in a row/);
});

test('workers that are killed from outside are replaced at once, however often', async (t) => {
  const { started, ends, why } = world(t, 1);
  for (let n = 0; n < 20; n++) await ends(null, n % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
  assert.equal(started.length, 1 + 20);
  assert.equal(why(), undefined);
});

test('all workers may fail at once: they are tried again', async (t) => {
  const { started, pass, why } = world(t, 8);
  for (const child of started.slice(0, 8)) child.emit('exit', 1, null);
  await Promise.resolve();
  assert.equal(why(), undefined);
  pass(4000);
  assert.equal(started.length, 16);
});
