import assert from 'node:assert/strict';
import { test } from 'node:test';
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
