import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { dispatcherConfig } from '../../src/entry/workers-config.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { otlpTracing } from '../../src/platform/tracing-otlp.ts';
import { createDrain, nextAlarmMs } from '../../worker-cron/drain.ts';
import { apiOn } from '../support/api.ts';
import { startCollector } from '../support/collector.ts';
import { createDatabase } from '../support/databases.ts';
import { recordingLog, silent } from '../support/deps.ts';
import { enqueue, execute, newEndpoint, stateOf } from '../support/notifications.ts';
import { startSink } from '../support/sink.ts';

const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
/** The Free plan's limit. */
const SUBREQUESTS = 50;

/**
 * Limits fetch as Workers do: six requests may await their response headers, the seventh waits while its time runs, and
 * the one after the last subrequest of an invocation fails.
 */
function workersFetch(allowed: number) {
  const usual = globalThis.fetch;
  const waiting: (() => void)[] = [];
  const seen = { atOnce: 0, most: 0, queued: 0, subrequests: 0, refused: 0 };
  globalThis.fetch = async (input, init) => {
    if (++seen.subrequests > allowed) {
      seen.refused++;
      throw new Error('Too many subrequests.');
    }
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

/** A dispatcher on Workers, its database and a receiver. */
async function startDrain(t: TestContext, own: Record<string, string | number> = {}, allowed = SUBREQUESTS) {
  const database = await createDatabase();
  const neon = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const sink = await startSink();
  const { seen, restore } = workersFetch(allowed);
  t.after(async () => {
    restore();
    await sink.close();
    await neon.close();
    await database.drop();
  });
  const { db } = openNeon({ url: database.url, fetchEndpoint: neon.url });
  const config = dispatcherConfig({ DATABASE_URL: database.url, SECRETS_KEY, ...own });
  const secret = await createSecretBox(SECRETS_KEY).seal(`whsec_${Buffer.alloc(32, 1).toString('base64')}`);
  const tracing = config.traces && otlpTracing(config.traces, silent, { timer: false });
  const { drain } = createDrain(config, db, silent, undefined, tracing);
  return {
    db,
    url: database.url,
    neon: neon.url,
    sink,
    seen,
    endpoint: (path: string) => newEndpoint(db, sink.url(path), secret),
    /** Runs as alarms do, each a separate invocation, until nothing is due; returns the subrequests that each used. */
    async drainAll(): Promise<number[]> {
      const runs: number[] = [];
      for (let nextMs: number | null = 0; nextMs === 0; runs.push(seen.subrequests)) {
        seen.subrequests = 0;
        const run = await drain();
        assert.equal(run.failed, false, 'a full run is no failure');
        nextMs = run.nextMs;
      }
      return runs;
    },
  };
}

test('runs keep to six connections and their subrequests, and time out no delivery that only waits', async (t) => {
  const { db, sink, seen, endpoint, drainAll } = await startDrain(t, {
    DISPATCH_LEASE_MS: 12_000,
    DELIVERY_TIMEOUT_MS: 6000,
  });
  for (let i = 0; i < 10; i++) {
    // A delivery that waited for a connection for two in a row would time out.
    sink.reply(`/${i}`, async (_, response) => {
      await sleep(3200);
      response.writeHead(204).end();
    });
    await enqueue(db, 3, await endpoint(`/${i}`));
  }
  seen.most = 0;
  const runs = await drainAll();
  assert.equal(sink.hooks.length, 30, 'each was delivered once, so that none timed out');
  assert.ok(runs.length > 1, 'one run does no more than its subrequests allow');
  assert.ok(Math.max(...runs) <= SUBREQUESTS, `${runs} subrequests`);
  assert.equal(seen.refused, 0);
  assert.ok(seen.most <= 6 && seen.most > 3, `${seen.most} at once`);
  assert.equal(seen.queued, 0);
});

test('twenty that are due for one slow endpoint are delivered once each, in as many runs as that takes', async (t) => {
  const { db, sink, seen, endpoint, drainAll } = await startDrain(t);
  sink.reply('/slow', async (_, response) => {
    await sleep(1100);
    response.writeHead(204).end();
  });
  await enqueue(db, 20, await endpoint('/slow'));
  const runs = await drainAll();
  assert.equal(new Set(sink.hooks.map(({ headers }) => headers['webhook-id'])).size, 20);
  assert.equal(sink.hooks.length, 20, 'none is repeated');
  assert.ok(Math.max(...runs) <= SUBREQUESTS, `${runs} subrequests`);
  assert.equal(seen.refused, 0);
});

test('a run with traces keeps room for their export, which is one request for all its spans', async (t) => {
  const collector = await startCollector();
  t.after(collector.close);
  const { db, sink, seen, endpoint, drainAll } = await startDrain(t, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
  // Also in runs that take seconds.
  sink.reply('/slow', async (_, response) => {
    await sleep(1100);
    response.writeHead(204).end();
  });
  await enqueue(db, 57, await endpoint('/'));
  await enqueue(db, 3, await endpoint('/slow'));
  const runs = await drainAll();
  assert.equal(sink.hooks.length, 60);
  assert.ok(Math.max(...runs) <= SUBREQUESTS, `${runs} subrequests`);
  assert.equal(seen.refused, 0);
  assert.equal(collector.spans().length, 120);
  assert.ok(collector.exports().length <= runs.length, 'at most one for each run');
});

test('two dispatchers at a time deliver each notification once', async (t) => {
  const { db, sink, endpoint, drainAll } = await startDrain(
    t,
    { DISPATCH_SUBREQUESTS: 1000 },
    Number.POSITIVE_INFINITY,
  );
  for (let i = 0; i < 8; i++) await enqueue(db, 10, await endpoint(`/${i}`));
  const { drain } = createDrain(
    dispatcherConfig({ DATABASE_URL: 'postgres://unused/unused', SECRETS_KEY, DISPATCH_SUBREQUESTS: 1000 }),
    db,
    silent,
  );
  await Promise.all([drain(), drainAll()]);
  assert.equal(new Set(sink.hooks.map(({ headers }) => headers['webhook-id'])).size, 80);
  assert.equal(sink.hooks.length, 80);
});

test('keys that open nothing that is sealed attempt nothing, and say so; with the right one the next run delivers', async (t) => {
  const { db, url, neon, sink, endpoint } = await startDrain(t);
  const [id] = await enqueue(db, 1, await endpoint('/hook'));
  const drainWith = (keys: Record<string, string>, log = silent) => {
    const config = dispatcherConfig({ DATABASE_URL: url, DATABASE_FETCH_ENDPOINT: neon, ...keys });
    return createDrain(config, db, log).drain();
  };
  const other = Buffer.alloc(32, 8).toString('base64');
  const log = recordingLog();
  assert.deepEqual(await drainWith({ SECRETS_KEY: other }, log), { nextMs: null, failed: true });
  assert.match(String(log.lines[0]?.fields.error), /SECRETS_KEYS_OLD/);
  assert.deepEqual((await stateOf(db, id as string)).attempt, 0);
  assert.equal((await drainWith({ SECRETS_KEY: other, SECRETS_KEYS_OLD: SECRETS_KEY })).failed, false);
  assert.equal(sink.hooks.length, 1);
});

test('an action on many takes at most half of a run, beside deliveries, and goes on in the next one', async (t) => {
  const { db, sink, seen, endpoint, drainAll } = await startDrain(t);
  const id = await endpoint('/hook');
  await enqueue(db, 30_000);
  await execute(
    db,
    `with gone as (delete from deliveries returning notification_id)
     insert into outcomes select notification_id, 'dead', 1, null, now(), 1, 500, 'd' from gone`,
  );
  await enqueue(db, 10, id);
  const body = { filter: { channel: 'email', createdBefore: new Date(Date.now() + 60_000).toISOString() } };
  const asked = await apiOn(db)('POST', '/notifications/redrive', { body });
  assert.equal(asked.json.matching, 30_000);
  await execute(db, `create function refuse() returns trigger language plpgsql as 'begin return null; end'`);
  // Redriven notifications must not be delivered here.
  await execute(db, `create trigger refuse before insert on deliveries for each row execute function refuse()`);
  const runs = await drainAll();
  assert.equal(sink.hooks.length, 10);
  assert.ok(runs.length > 1 && Math.max(...runs) <= SUBREQUESTS, `${runs} subrequests`);
  assert.equal(seen.refused, 0);
  const { json } = await apiOn(db)('GET', `/actions/${asked.json.id}`);
  assert.deepEqual([json.status, json.done], ['finished', 30_000]);
  const { dispatchers } = (await apiOn(db)('GET', '/stats')).json;
  assert.deepEqual(
    dispatchers.map(({ id, alive }: { id: string; alive: boolean }) => [id, alive]),
    [['worker', true]],
  );
});

test('the next alarm is when something is due, and after failures never before the back-off, whatever is due', () => {
  const leaseMs = 60_000;
  const quiet = { nextMs: null, failures: 0, unfinished: false };
  const cases: [Parameters<typeof nextAlarmMs>[0], number | null][] = [
    [quiet, null],
    [{ ...quiet, nextMs: 0 }, 0],
    [{ ...quiet, nextMs: 700 }, 700],
    [{ ...quiet, unfinished: true }, leaseMs],
    [{ ...quiet, nextMs: 700, unfinished: true }, 700],
    [{ ...quiet, failures: 1 }, 2000],
    [{ ...quiet, nextMs: 0, failures: 1 }, 2000],
    [{ ...quiet, nextMs: 9000, failures: 1 }, 9000],
    [{ ...quiet, nextMs: 0, failures: 3 }, 8000],
    [{ ...quiet, nextMs: 0, failures: 100, unfinished: true }, 300_000],
  ];
  for (const [run, expected] of cases) assert.equal(nextAlarmMs(run, leaseMs), expected, JSON.stringify(run));
});
