// The short form of npm run test:faults, without what depends on the machine.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { FAULTS } from './faults.ts';
import { lastRun, reliabilityOf, titleOf } from './report.ts';
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
  const run = lastRun();
  assert.equal(readFileSync(join(import.meta.dirname, '../../RELIABILITY.md'), 'utf8'), reliabilityOf(run));
  const found = run.rows.map((row) => [titleOf(row), ...row.lost, ...row.untrue].join('; '));
  const skipped = run.skipped.map(({ title }) => title);
  assert.deepEqual([...found, ...skipped].sort(), FAULTS.map(titleOf).sort());
});
