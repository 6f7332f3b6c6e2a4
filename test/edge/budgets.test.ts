import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { app } from '../../src/app.ts';
import { resourcesOf } from '../../src/http/operation.ts';
import { caller } from '../conformance/target.ts';
import { DATALESS, everyOperation } from '../support/operations.ts';
import { bundle, coldStarts, compressedKib, startModules } from '../support/raw-workerd.ts';
import { startWorkers, type Workers } from '../support/workerd.ts';

// A KiB for each resource: 120 and 171 with the five of the example.
const RESOURCES = resourcesOf(app.routes).length;
const START_KIB = 115 + RESOURCES;
const UPLOAD_KIB = 166 + RESOURCES;
const STARTS = 20;

describe("the API's bundle", () => {
  let built: Awaited<ReturnType<typeof bundle>>;
  before(async () => {
    built = await bundle();
  });
  after(() => built.remove());

  it(`has at most ${START_KIB} KiB that a start evaluates, minified and compressed, and ${UPLOAD_KIB} in all`, (t) => {
    const start = compressedKib(built, startModules(built));
    const upload = compressedKib(built, built.modules);
    t.diagnostic(`${start.toFixed(1)} KiB at start, ${upload.toFixed(1)} KiB in all`);
    assert.ok(start <= START_KIB, `${start} KiB`);
    assert.ok(upload <= UPLOAD_KIB, `${upload} KiB`);
    assert.ok(startModules(built).length < built.modules.length, 'some parts are imported only when they are needed');
  });

  it('holds neither the OpenAPI document nor what makes it, and no static file', () => {
    const text = built.modules.map((name) => readFileSync(join(built.directory, name), 'utf8')).join();
    for (const absent of ['securitySchemes', 'json-schema.org', 'SwaggerUIBundle', 'font-family']) {
      assert.ok(!text.includes(absent), absent);
    }
  });

  it('answers after a cold start; how soon is printed', async (t) => {
    const times = await coldStarts(built, STARTS);
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
