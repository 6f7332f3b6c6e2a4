import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import type { Attempt, Channel } from '../../src/dispatcher/channels/channel.ts';
import type { Claimed, Delivery } from '../../src/dispatcher/claims.ts';
import { systemClock } from '../../src/dispatcher/clock.ts';
import { createDispatcher } from '../../src/dispatcher/dispatch.ts';
import { FIRST_LANE } from '../../src/dispatcher/lanes.ts';
import { databaseQueue } from '../../src/dispatcher/queue.ts';
import { processLimits } from '../../src/dispatcher/rooms.ts';
import type { DispatchSettings } from '../../src/dispatcher/run.ts';
import { virtualTime } from '../simulation/time.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { recordingLog } from '../support/deps.ts';
import { endpointState, enqueue, execute, newEndpoint, rowsOf, stateOf } from '../support/notifications.ts';

const SENT: Attempt = { ok: true, status: 204 };
const never = new AbortController().signal;

const settings: DispatchSettings = {
  intervalMs: 60_000,
  batch: 20,
  concurrency: 4,
  overflowConcurrency: 4,
  totalConcurrency: 8,
  laneConcurrency: 1,
  maxWaitingBytes: 1e6,
  leaseMs: 60_000,
  maxAttempts: 3,
  deliveryTimeoutMs: 10_000,
};

/** How many endpoints that are not yet known are tried at a time: half of the slots. */
const TRIES = 2;

/** Queues one notification each for `count` new endpoints, and returns their ids. */
async function enqueueEach(db: Db, count: number): Promise<string[]> {
  const each = Array.from({ length: count }, async () => enqueue(db, 1, await newEndpoint(db)));
  return (await Promise.all(each)).flat();
}

function dispatcherWith(db: Db, channel: Channel, own: Partial<DispatchSettings> = {}) {
  const log = recordingLog();
  const dispatcher = createDispatcher({
    queue: databaseQueue(db, { name: 'test', leaseMs: own.leaseMs ?? settings.leaseMs, everyMs: 5000 }),
    channels: { email: channel, webhook: channel },
    clock: systemClock,
    log,
    metrics: { delivery() {}, dispatcherTick() {} },
    random: () => 0.5,
    settings: { ...settings, ...own },
  });
  return { ...dispatcher, log, drain: async (budget?: number) => (await dispatcher.drain(budget)).nextMs };
}

/** A channel that holds each delivery until it is told the outcome. */
function heldChannel() {
  const started: { delivery: Delivery; finish: (attempt: Attempt) => void }[] = [];
  let look = () => {};
  const channel: Channel = (delivery) =>
    new Promise((finish) => {
      started.push({ delivery, finish });
      look();
    });
  const untilStarted = (count: number) =>
    new Promise<void>((resolve) => {
      look = () => started.length >= count && resolve();
      look();
    });
  return { channel, started, untilStarted };
}

onEveryDatabase('dispatcher', (db) => {
  beforeEach(() => execute(db, 'truncate messages, notifications, deliveries, attempts, outcomes, webhook_endpoints'));

  test('a backlog is delivered to the last one, each once, few at a time', async () => {
    const ids = await enqueue(db, 130);
    const seen: string[] = [];
    let underWay = 0;
    let most = 0;
    const { drain } = dispatcherWith(db, async ({ id }) => {
      most = Math.max(most, ++underWay);
      await new Promise((resolve) => setImmediate(resolve));
      underWay--;
      seen.push(id);
      return SENT;
    });
    assert.equal(await drain(), null);
    assert.deepEqual(seen.sort(), ids.sort());
    assert.ok(most <= settings.concurrency, `${most} at a time`);
    for (const id of ids.slice(0, 3)) assert.equal((await stateOf(db, id)).status, 'sent');
  });

  test('what fails is tried again on schedule, and is dead after the last attempt', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const { drain } = dispatcherWith(db, async () => ({ ok: false, status: 500, error: 'HTTP 500' }));
    let startedAt = performance.now();
    const sinceMs = () => performance.now() - startedAt;
    const next = await drain();
    assert.ok(next !== null && next > 4000 - sinceMs() && next <= 5000, `${next} ms`);
    const waits = [5, 300];
    for (const [made, seconds] of waits.entries()) {
      const state = await stateOf(db, id);
      assert.equal(state.attempt, made + 1);
      const dueInS = state.dueInS as number;
      assert.ok(dueInS > seconds - 1 - sinceMs() / 1000 && dueInS <= seconds, `${dueInS} s`);
      await execute(db, 'update deliveries set due_at = now()');
      startedAt = performance.now();
      await drain();
    }
    const { status, attempts, lastError, log } = await stateOf(db, id);
    assert.deepEqual([status, attempts, lastError, log.length], ['dead', 3, 'HTTP 500', 3]);
  });

  test('a delivery that failed for good is dead at once', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const { drain } = dispatcherWith(db, async () => ({ ok: false, status: 410, error: 'HTTP 410', final: true }));
    await drain();
    assert.deepEqual([(await stateOf(db, id)).status, (await stateOf(db, id)).attempts], ['dead', 1]);
  });

  test('a channel that throws is a failed attempt, logged with its cause, and the others go on', async () => {
    const ids = await enqueue(db, 3);
    const { drain, log } = dispatcherWith(db, async ({ id }) => {
      if (id === ids[1]) throw new Error('a defect, with details');
      return SENT;
    });
    await drain();
    const states = await Promise.all(ids.map((id) => stateOf(db, id)));
    assert.deepEqual(
      states.map(({ status }) => status),
      ['sent', null, 'sent'],
    );
    assert.deepEqual(states[1]?.log, [{ status: null, error: 'internal error', dispatcher: 'test' }]);
    const line = log.lines.find(({ msg }) => msg === 'delivery failed unexpectedly');
    assert.match(String(line?.fields.error), /a defect/);
  });

  test('a channel that this process does not have is a failed attempt, and the others go on', async () => {
    const ids = await enqueue(db, 3);
    await execute(db, `update notifications set channel = 'pigeon' where id = '${ids[0]}'`);
    const { drain } = dispatcherWith(db, async () => SENT);
    await drain();
    const states = await Promise.all(ids.map((id) => stateOf(db, id)));
    assert.deepEqual(
      states.map(({ status }) => status),
      [null, 'sent', 'sent'],
    );
    assert.deepEqual(states[0]?.log, [{ status: null, error: 'internal error', dispatcher: 'test' }]);
  });

  test('a defect of its own ends it, for whoever runs it to know, once the rest is settled', async () => {
    const ids = await enqueueEach(db, 10);
    const { channel, started, untilStarted } = heldChannel();
    let calls = 0;
    const { run } = dispatcherWith(db, (delivery) =>
      calls++ === 0 ? Promise.resolve(undefined as unknown as Attempt) : channel(delivery),
    );
    const ended = assert.rejects(run(), TypeError);
    await untilStarted(TRIES - 1);
    for (const { finish } of started) finish(SENT);
    await ended;
    const states = await Promise.all(ids.map((id) => stateOf(db, id)));
    assert.equal(states.filter(({ status }) => status === 'sent').length, TRIES - 1);
    assert.equal(states.filter(({ leased }) => leased).length, 1, 'the rest is given back');
  });

  test('a drain leaves nothing behind, whatever ends while a claim is under way', async () => {
    const endpoint = await newEndpoint(db);
    const slow: Db = {
      ...db,
      run: async (statement, values, signal) => {
        const rows = await db.run(statement, values, signal);
        if (statement.name.startsWith('deliveries.claim')) await new Promise((resolve) => setTimeout(resolve, 4));
        return rows;
      },
    };
    const soon = () => new Promise<Attempt>((resolve) => setTimeout(resolve, 3, SENT));
    for (let backlog = 50; backlog <= 100; backlog += 5) {
      const ids = await enqueue(db, backlog, endpoint);
      assert.equal(await dispatcherWith(slow, soon, { batch: 50, concurrency: 40 }).drain(), null);
      const states = await Promise.all([ids[0], ids.at(-1)].map((id) => stateOf(db, id as string)));
      assert.deepEqual(
        states.map(({ status }) => status),
        ['sent', 'sent'],
        `of ${backlog}`,
      );
    }
  });

  for (const status of [500, 410]) {
    test(`what waits for an endpoint that answers ${status} does not start once that has stopped it`, async () => {
      await enqueue(db, 200, await newEndpoint(db));
      let stopped = false;
      let after = 0;
      const watched: Db = {
        ...db,
        run: async (statement, values, signal) => {
          const rows = await db.run(statement, values, signal);
          const [row] = rows as { changes?: unknown[] }[];
          if (row?.changes?.length) setImmediate(() => (stopped = true));
          return rows;
        },
      };
      const failing: Channel = async ({ endpoint }) => {
        if (endpoint?.status === 'disabled') return { ok: false, status: null, error: 'disabled', final: true };
        if (stopped) after++;
        await new Promise((resolve) => setTimeout(resolve, 1));
        return { ok: false, status, error: `HTTP ${status}`, final: status === 410 };
      };
      const { drain } = dispatcherWith(watched, failing, {
        ...processLimits({ concurrency: 16 }),
        concurrency: 16,
        batch: 100,
      });
      await drain();
      // The last settlement may be the one that stopped the endpoint.
      await new Promise(setImmediate);
      assert.deepEqual([stopped, after], [true, 0]);
    });
  }

  test('a notification to a paused endpoint comes up when the pause ends', async () => {
    const endpoint = await newEndpoint(db);
    await execute(
      db,
      `update webhook_endpoints set status = 'paused', paused_until = now() + interval '25 s' where id = '${endpoint}'`,
    );
    await enqueue(db, 2, endpoint);
    const next = await dispatcherWith(db, async () => SENT).drain();
    assert.ok(next !== null && next > 20_000 && next <= 25_000, `${next} ms`);
  });

  test('however many endpoints wait for later, one round of claims finds when the first is due', async () => {
    const LANES = 2000;
    await execute(
      db,
      `insert into deliveries (notification_id, endpoint_id, due_at)
       select uuid_v7(), uuid_v7(), now() + interval '1 hour' from generate_series(1, ${LANES})`,
    );
    let claims = 0;
    const watched: Db = {
      ...db,
      run: (statement, values, signal) => {
        if (statement.name.startsWith('deliveries.claim') && ++claims > 10) assert.fail('it claims without end');
        return db.run(statement, values, signal);
      },
    };
    const { drain } = dispatcherWith(watched, async () => SENT);
    for (const expected of [3, 2]) {
      claims = 0;
      const next = await drain(50);
      assert.ok(next !== null && next > 3_500_000 && next <= 3_600_000, `${next} ms`);
      assert.equal(claims, expected, 'a thousand lanes each, and one that finds no more');
    }
    const [id] = await enqueue(db, 1, await newEndpoint(db));
    await drain(50);
    assert.equal((await stateOf(db, id as string)).status, 'sent');
  });

  test('what is delivered one at a time settles together all the same', async () => {
    await enqueue(db, 100);
    let settlements = 0;
    const watched: Db = {
      ...db,
      run: (statement, values, signal) => {
        if (statement.name === 'deliveries.settle2') settlements++;
        return db.run(statement, values, signal);
      },
    };
    const soon = () => new Promise<Attempt>((resolve) => setTimeout(resolve, 1, SENT));
    const { drain } = dispatcherWith(watched, soon, { concurrency: 1 });
    const from = performance.now();
    await drain();
    // Results wait for 20 ms, or until there are ten.
    const most = 12 + (performance.now() - from) / 20;
    assert.ok(settlements <= most, `${settlements} settlements of ${most}`);
  });

  test('a notification whose attempts always kill the dispatcher ends dead, without another one', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    // The attempts allowed, three here, plus ten.
    await execute(db, 'update deliveries set attempt = 13');
    const { drain } = dispatcherWith(db, async () => assert.fail('must not be attempted'));
    await drain();
    assert.deepEqual(
      [(await stateOf(db, id)).status, (await stateOf(db, id)).lastError],
      ['dead', 'too many attempts were interrupted'],
    );
  });

  test('a notification that waited each time its dispatcher was killed is attempted all the same', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    await execute(db, 'update deliveries set attempt = 3');
    let attempts = 0;
    const { drain } = dispatcherWith(db, async () => {
      attempts++;
      return SENT;
    });
    await drain();
    assert.deepEqual([(await stateOf(db, id)).status, attempts], ['sent', 1]);
  });

  test('one endpoint that never answers takes no more than its share, and nothing from the others', async () => {
    const hanging = await newEndpoint(db);
    const well = await newEndpoint(db);
    await enqueue(db, 30, hanging);
    const ids = await enqueue(db, 30, well);
    const { channel, started } = heldChannel();
    const done: string[] = [];
    const finished = Promise.withResolvers<void>();
    const { run, stop } = dispatcherWith(db, async (delivery) => {
      if (delivery.endpointId === hanging) return channel(delivery);
      if (done.push(delivery.id) === ids.length) finished.resolve();
      return SENT;
    });
    const running = run();
    await finished.promise;
    assert.deepEqual(done.sort(), ids.sort());
    assert.equal(started.length, 1, 'a quarter of the four slots');
    stop(AbortSignal.abort());
    await running;
  });

  test('the backlog of a paused endpoint holds nobody up', async () => {
    const paused = await newEndpoint(db);
    const well = await newEndpoint(db);
    await enqueue(db, 5 * settings.batch, paused);
    await execute(
      db,
      `update webhook_endpoints set status = 'paused', paused_until = now() + interval '1 hour' where id = '${paused}'`,
    );
    const ids = await enqueue(db, 2, well);
    const seen: string[] = [];
    const { drain } = dispatcherWith(db, async ({ id }) => {
      seen.push(id);
      return SENT;
    });
    await drain();
    assert.deepEqual(seen.sort(), ids.sort());
  });

  test('what fails by itself during a stop keeps its place in the schedule', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const { channel, started, untilStarted } = heldChannel();
    const { run, stop } = dispatcherWith(db, channel);
    const running = run();
    await untilStarted(1);
    stop(never);
    started[0]?.finish({ ok: false, status: 503, error: 'HTTP 503', retryAfterMs: 3_600_000 });
    await running;
    assert.ok(((await stateOf(db, id)).dueInS as number) > 3500);
  });

  test('a ring while it works is not lost', async () => {
    const { channel, started, untilStarted } = heldChannel();
    const { run, stop, wake } = dispatcherWith(db, channel);
    const running = run();
    await enqueueEach(db, 1);
    wake();
    await untilStarted(1);
    await enqueueEach(db, 1);
    wake();
    wake();
    await untilStarted(2);
    for (const { finish } of started) finish(SENT);
    stop(never);
    await running;
    assert.equal(started.length, 2);
  });

  test('an endpoint that is changed reaches what is claimed and not started', async () => {
    const endpoint = await newEndpoint(db, 'https://old.example/');
    await enqueue(db, 12, endpoint);
    const urls: (string | undefined)[] = [];
    const { channel, started, untilStarted } = heldChannel();
    const { run, stop, wake } = dispatcherWith(db, (delivery) => {
      urls.push(delivery.endpoint?.url);
      return channel(delivery);
    });
    const running = run();
    // After the first quick delivery the lane holds more than it may start.
    await untilStarted(1);
    started[0]?.finish(SENT);
    await untilStarted(2);
    await execute(db, `update webhook_endpoints set url = 'https://new.example/' where id = '${endpoint}'`);
    wake(endpoint);
    for (let i = 1; i < 12; i++) {
      await untilStarted(i + 1);
      started[i]?.finish(SENT);
    }
    stop(never);
    await running;
    assert.deepEqual(urls, [...Array(2).fill('https://old.example/'), ...Array(10).fill('https://new.example/')]);
  });

  test('a stop finishes what is under way, gives back the rest, and starts nothing more', async () => {
    const ids = await enqueueEach(db, 12);
    const { channel, started, untilStarted } = heldChannel();
    const { run, stop } = dispatcherWith(db, channel);
    const running = run();
    await untilStarted(TRIES);
    stop(never);
    for (const { finish } of started) finish(SENT);
    await running;
    assert.equal(started.length, TRIES);
    const states = await Promise.all(ids.map((id) => stateOf(db, id)));
    assert.equal(states.filter(({ status }) => status === 'sent').length, TRIES);
    for (const { status, attempt, leased, dueInS } of states) {
      if (status !== 'sent') assert.deepEqual([attempt, leased, (dueInS as number) <= 0], [0, false, true]);
    }
  });

  test('a stop that may wait no longer leaves what is under way to others, once its time is over', async () => {
    const endpoint = await newEndpoint(db);
    const [id] = (await enqueue(db, 1, endpoint)) as [string];
    await execute(db, `update deliveries set attempt = ${settings.maxAttempts - 1}`);
    const { channel, untilStarted } = heldChannel();
    const { run, stop } = dispatcherWith(db, channel);
    const running = run();
    await untilStarted(1);
    stop(AbortSignal.abort());
    await running;
    const { status, leased, dueInS, attempt, log } = await stateOf(db, id);
    assert.deepEqual([status, leased, attempt], [null, false, settings.maxAttempts - 1], 'no attempt is used up');
    assert.ok(Math.abs((dueInS as number) - settings.deliveryTimeoutMs / 1000) < 2, `${dueInS} s`);
    assert.deepEqual(log, [{ status: null, error: 'interrupted by a shutdown', dispatcher: 'test' }]);
    assert.equal((await endpointState(db, endpoint)).failures, 0, 'no fault of the receiver');
  });

  test('a channel that never ends is a failed attempt, and what it says later changes nothing', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const { channel, started } = heldChannel();
    const { drain } = dispatcherWith(db, channel, { deliveryTimeoutMs: 1 });
    const next = await drain();
    assert.ok(next !== null && next > 0);
    started[0]?.finish(SENT);
    const { status, log } = await stateOf(db, id);
    assert.deepEqual([status, log], [null, [{ status: null, error: 'timed out', dispatcher: 'test' }]]);
  });

  test('the lease of what takes long is extended', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const { channel, started, untilStarted } = heldChannel();
    const extended = Promise.withResolvers<void>();
    const watched: Db = {
      ...db,
      run: async (statement, values, signal) => {
        const rows = await db.run(statement, values, signal);
        if (statement.name === 'deliveries.extend') extended.resolve();
        return rows;
      },
    };
    const { run, stop } = dispatcherWith(watched, channel, { leaseMs: 6000, deliveryTimeoutMs: 5000 });
    const dueAt = async () =>
      (await rowsOf<{ at: number }>(db, 'select extract(epoch from due_at)::float8 as at from deliveries'))[0]?.at;
    const running = run();
    await untilStarted(1);
    const before = (await dueAt()) as number;
    await extended.promise;
    assert.ok(((await dueAt()) as number) > before + 1, 'a third of the lease later');
    started[0]?.finish(SENT);
    stop(never);
    await running;
    assert.equal((await stateOf(db, id)).status, 'sent');
  });

  test('a drain after one that failed begins afresh', async () => {
    let away = true;
    const flaky: Db = {
      ...db,
      run: (statement, values, signal) =>
        away ? Promise.reject(new Error('away')) : db.run(statement, values, signal),
    };
    let answer = undefined as unknown as Attempt;
    const { drain } = dispatcherWith(flaky, async () => answer);
    const [broken] = (await enqueue(db, 1)) as [string];
    assert.equal(await drain(), null, 'it leaves the retry to whoever asked for it');
    away = false;
    await assert.rejects(drain(), TypeError, 'it looks at once');
    await execute(db, 'update deliveries set due_at = now()');
    answer = SENT;
    await drain();
    assert.equal((await stateOf(db, broken)).status, 'sent');
  });

  test('a database that is away is waited for, and what was delivered meanwhile is settled, once', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    let away = false;
    let refused = 0;
    let attempts = 0;
    const flaky: Db = {
      ...db,
      run: (statement, values, signal) => {
        if (!away) return db.run(statement, values, signal);
        if (++refused === 2) away = false;
        return Promise.reject(new Error('away'));
      },
    };
    const { drain, log } = dispatcherWith(flaky, async () => {
      attempts++;
      away = true;
      return SENT;
    });
    await drain();
    assert.deepEqual([(await stateOf(db, id)).status, attempts], ['sent', 1]);
    assert.ok(log.lines.some(({ msg }) => msg === 'settlement failed'));
  });
});

test('a dispatcher whose queue does not answer says once that it is stalled, since when, and that it is over', async () => {
  const time = virtualTime();
  const log = recordingLog();
  const nothing = { deliveries: [], more: [], moreUnnamed: false, unfinished: false, unvisited: false };
  const claimed: Claimed = { ...nothing, cursor: FIRST_LANE, nextMs: null, jobs: false };
  let away = true;
  let answer = (_: Claimed) => {};
  const unused = () => assert.fail('must not be called');
  const dispatcher = createDispatcher({
    queue: {
      claim: () =>
        new Promise((resolve) => {
          if (away) answer = resolve;
          else resolve(claimed);
        }),
      settle: unused,
      extend: unused,
      advance: unused,
    },
    channels: { email: unused, webhook: unused },
    clock: time,
    log,
    metrics: { delivery() {}, dispatcherTick() {} },
    random: () => 0.5,
    settings: { ...settings, intervalMs: 5000 },
  });
  const running = dispatcher.run();
  await time.run(600_000, () => false);
  const said = () => log.lines.map(({ level, msg }) => `${level} ${msg}`);
  assert.deepEqual(said(), ['error dispatcher stalled: no successful claim']);
  assert.equal(log.lines[0]?.fields.seconds, 30);
  assert.ok(dispatcher.lastClaimAgeMs() >= 30_000, 'which is a metric');
  away = false;
  answer(claimed);
  await new Promise(setImmediate);
  assert.deepEqual(said().slice(1), ['info dispatcher recovered']);
  assert.equal(dispatcher.lastClaimAgeMs(), 0);
  dispatcher.stop(never);
  await running;
});
