// The short form of npm run test:faults, without what depends on the machine.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { FAULTS } from './faults.ts';
import { strike } from './strike.ts';

const HOLD_MS = 2500;

describe('nothing accepted is lost and nothing untrue is said', { concurrency: 2, timeout: 600_000 }, () => {
  for (const fault of FAULTS.filter(({ short }) => short)) {
    test(`${fault.kind}: ${fault.name}`, async (t) => {
      const seed = randomInt(2 ** 31);
      t.diagnostic(`seed ${seed}`);
      const { lost, untrue, accepted } = await strike(fault, { times: 1, holdMs: HOLD_MS, seed, measured: false });
      assert.deepEqual({ lost, untrue }, { lost: [], untrue: [] });
      assert.ok(accepted > 0);
    });
  }
});

test('RELIABILITY.md has a row for every fault, without a loss or an untruth', () => {
  const page = readFileSync(join(import.meta.dirname, '../../RELIABILITY.md'), 'utf8');
  const rows = page.split('\n').flatMap((line) => {
    const [, kind = '', name = '', , , , lost, , untrue] = line.split('|').map((cell) => cell.trim());
    return /^\d+$/.test(lost ?? '') ? [`${kind}: ${name}: ${lost} lost, ${untrue} untrue`] : [];
  });
  const tried = FAULTS.filter(({ kind, name }) => !page.includes(`Not tried on this machine: ${kind}: ${name} (`));
  assert.deepEqual(
    rows,
    tried.map(({ kind, name }) => `${kind}: ${name}: 0 lost, 0 untrue`),
  );
});
