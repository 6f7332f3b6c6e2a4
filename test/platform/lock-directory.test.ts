import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { lockDirectory } from '../../src/platform/lock-directory.ts';
import { ownDirectory } from '../support/directories.ts';
import { COMMANDS } from '../support/runtimes.ts';

const [node, ...options] = COMMANDS.node.slice(0, -1) as [string, ...string[]];
const module = join(import.meta.dirname, '../../src/platform/lock-directory.ts');

/** Starts a process that tries to take the lock, prints the result and, on success, holds it until it is killed. */
async function other(t: TestContext, dir: string): Promise<{ child: ChildProcess; said: string }> {
  const script = `
    import { lockDirectory } from ${JSON.stringify(module)};
    try { lockDirectory(${JSON.stringify(dir)}); console.log('taken'); setInterval(() => {}, 1000); }
    catch (error) { console.log(error.message); }`;
  const child = spawn(node, [...options, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => void child.kill('SIGKILL'));
  const [said] = await once(child.stdout as NodeJS.ReadableStream, 'data');
  return { child, said: String(said).trim() };
}

describe('a directory', () => {
  test('is held by one process at a time, which gives it back', async (t) => {
    const dir = join(ownDirectory(t), 'db');
    const unlock = lockDirectory(dir);
    assert.equal(
      (await other(t, dir)).said,
      `${dir} is in use by process ${process.pid}: stop that process or, if it is another program, delete ${dir}.lock`,
    );
    unlock();
    assert.equal((await other(t, dir)).said, 'taken');
  });

  test('whose holder was killed is free again', async (t) => {
    const dir = join(ownDirectory(t), 'db');
    const { child, said } = await other(t, dir);
    assert.equal(said, 'taken');
    assert.throws(() => lockDirectory(dir), {
      message: `${dir} is in use by process ${child.pid}: stop that process or, if it is another program, delete ${dir}.lock`,
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    lockDirectory(dir)();
    assert.ok(!existsSync(`${dir}.lock`));
  });

  test('with a lock that names nobody, or this process in an earlier life, is free', (t) => {
    const dir = join(ownDirectory(t), 'db');
    for (const owner of ['nonsense', '-1', '0', String(process.pid)]) {
      writeFileSync(`${dir}.lock`, owner);
      const unlock = lockDirectory(dir);
      assert.equal(readFileSync(`${dir}.lock`, 'utf8'), String(process.pid));
      unlock();
    }
  });

  test('is never held by two that start at the same time, and nothing is left lying about', async (t) => {
    const dir = join(ownDirectory(t), 'db');
    for (let round = 0; round < 3; round++) {
      // The first round finds no lock; the others find one of a process that is gone.
      const all = await Promise.all(Array.from({ length: 5 }, () => other(t, dir)));
      assert.equal(all.filter(({ said }) => said === 'taken').length, 1, JSON.stringify(all.map(({ said }) => said)));
      for (const { child } of all) child.kill('SIGKILL');
      await Promise.all(all.map(({ child }) => child.exitCode ?? child.signalCode ?? once(child, 'exit')));
    }
    assert.deepEqual(readdirSync(join(dir, '..')), ['db.lock']);
  });

  test('that cannot be written to is told as that', (t) => {
    assert.throws(() => lockDirectory(join(ownDirectory(t), 'missing', 'db')), { code: 'ENOENT' });
  });
});
