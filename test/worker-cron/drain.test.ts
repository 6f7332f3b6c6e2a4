import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { dispatcherConfig } from '../../src/entry/workers-config.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { createDrain } from '../../worker-cron/drain.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { enqueue, newEndpoint } from '../support/notifications.ts';
import { startSink } from '../support/sink.ts';

const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
const BATCH = 20;

/** As on Workers: six requests may await the head of their answer, and the seventh waits while its time runs. */
function sixConnections() {
  const usual = globalThis.fetch;
  const waiting: (() => void)[] = [];
  const seen = { requests: 0, atOnce: 0, most: 0, queued: 0 };
  globalThis.fetch = async (input, init) => {
    seen.requests++;
    if (seen.atOnce === 6) {
      seen.queued++;
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    seen.most = Math.max(seen.most, ++seen.atOnce);
    try {
      return await usual(input, init);
    } finally {
      seen.atOnce--;
      waiting.shift()?.();
    }
  };
  const restore = () => {
    globalThis.fetch = usual;
  };
  return { seen, restore };
}

test('a run keeps to six connections and fifty subrequests, and times out no delivery that only waits', async (t) => {
  const database = await createDatabase();
  const neon = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const sink = await startSink();
  const { seen, restore } = sixConnections();
  t.after(async () => {
    restore();
    await sink.close();
    await neon.close();
    await database.drop();
  });
  const { db } = openNeon({ url: database.url, fetchEndpoint: neon.url });
  const config = dispatcherConfig({
    DATABASE_URL: database.url,
    SECRETS_KEY,
    DISPATCH_BATCH: BATCH,
    DISPATCH_LEASE_MS: 3000,
    DELIVERY_TIMEOUT_MS: 1500,
  });
  const secret = await createSecretBox(SECRETS_KEY).seal(`whsec_${Buffer.alloc(32, 1).toString('base64')}`);
  for (let i = 0; i < 10; i++) {
    // Two in a row at each: whoever waited for a connection for both would be past its time.
    sink.reply(`/${i}`, async (_, response) => {
      await sleep(1200);
      response.writeHead(204).end();
    });
    await enqueue(db, 3, await newEndpoint(db, sink.url(`/${i}`), secret));
  }

  const drain = createDrain(config, db, silent);
  const runs: number[] = [];
  for (let nextMs: number | null = 0; nextMs === 0; ) {
    const before = seen.requests;
    const run = await drain();
    assert.equal(run.failed, false);
    nextMs = run.nextMs;
    runs.push(seen.requests - before);
  }
  assert.equal(sink.hooks.length, 30, 'each was delivered once, so that none timed out');
  assert.ok(runs.length > 1, 'one run does a batch at most');
  assert.ok(Math.max(...runs) <= 50, `${runs} subrequests`);
  assert.ok(seen.most <= 6 && seen.most > 4, `${seen.most} at once`);
  assert.equal(seen.queued, 0);
});
