import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { caller } from '../conformance/target.ts';
import { DATALESS, everyOperation } from '../support/operations.ts';
import { bundle, coldStarts, compressedKib } from '../support/raw-workerd.ts';
import { startWorkers, type Workers } from '../support/workerd.ts';

const BUNDLE_KIB = 137;
const STARTS = 20;

describe("the API's bundle", () => {
  let built: Awaited<ReturnType<typeof bundle>>;
  before(async () => {
    built = await bundle();
  });
  after(() => built.remove());

  it(`has at most ${BUNDLE_KIB} KiB, minified and compressed`, (t) => {
    const kib = compressedKib(built.file);
    t.diagnostic(`${kib.toFixed(1)} KiB`);
    assert.ok(kib <= BUNDLE_KIB, `${kib} KiB`);
  });

  it('answers after a cold start; how soon is printed', async (t) => {
    const times = await coldStarts(built.file, STARTS);
    const median = times[STARTS / 2] as number;
    t.diagnostic(`median ${median.toFixed(0)} ms of ${STARTS}, best ${times[0]?.toFixed(0)} ms`);
    assert.equal(times.length, STARTS);
  });
});

describe('round trips to the database', () => {
  let workers: Workers;
  before(async () => {
    workers = await startWorkers({}, { binding: 'missing' });
  });
  after(() => workers.close());

  it('are one for each operation that goes well, and none for what touches no data', async () => {
    const seen: Record<string, number> = {};
    await everyOperation(
      caller(() => workers),
      workers.database.name,
      async (operation, ask) => {
        const before = workers.requests();
        const answer = await ask();
        seen[operation] = workers.requests() - before;
        return answer;
      },
    );
    for (const [operation, count] of Object.entries(seen)) {
      assert.equal(count, DATALESS.includes(operation) ? 0 : 1, operation);
    }
  });
});
