import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { report } from './bench/report.ts';
import { countStatements } from './bench/statements.ts';
import { DATALESS } from './support/operations.ts';

test('on Node each operation is one statement and one round trip, and none where no data is touched', async () => {
  const counted = await countStatements();
  assert.ok(Object.keys(counted).length > 15, 'operations are found');
  for (const [operation, counts] of Object.entries(counted)) {
    const each = DATALESS.includes(operation) ? 0 : 1;
    assert.deepEqual(counts, { statements: each, roundTrips: each }, operation);
  }
});

test('PERFORMANCE.md and its charts are what npm run bench:report makes of the measurements beside them', async () => {
  const root = join(import.meta.dirname, '..');
  const text = (path: string) => readFileSync(join(root, path), 'utf8');
  const { markdown, svgs } = await report();
  assert.equal(text('PERFORMANCE.md'), markdown);
  const charts = globSync('docs/performance/*.svg', { cwd: root });
  assert.deepEqual(
    charts.sort(),
    Object.keys(svgs)
      .map((name) => `docs/performance/${name}.svg`)
      .sort(),
  );
  for (const [name, svg] of Object.entries(svgs)) assert.equal(text(`docs/performance/${name}.svg`), svg, name);
});
