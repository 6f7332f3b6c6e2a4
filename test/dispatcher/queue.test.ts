import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { claimDeliveries, type Delivery, extendLeases, keyOf, SHARED } from '../../src/dispatcher/claims.ts';
import { queueDepth } from '../../src/dispatcher/depth.ts';
import { EMAIL_LANE, FIRST_LANE } from '../../src/dispatcher/lanes.ts';
import type { Settlement } from '../../src/dispatcher/settlements.ts';
import { cancelNotification, redriveNotification } from '../../src/notifications/store.ts';
import { enableEndpoint, pauseEndpoint } from '../../src/webhook-endpoints/store.ts';
import { connectTo, onEveryDatabase, openTestPostgres, untilBlocked } from '../support/databases.ts';
import { inTime } from '../support/deps.ts';
import { endpointState, enqueue, execute, newEndpoint, rowsOf, stateOf } from '../support/notifications.ts';
import { claim, settle } from '../support/queue.ts';

const settlement = ({ id, lease }: Pick<Delivery, 'id' | 'lease'>, own: Partial<Settlement> = {}): Settlement => ({
  id,
  lease,
  outcome: 'sent',
  delayMs: 0,
  durationMs: 12,
  status: 204,
  error: null,
  ...own,
});

const expire = (db: Db, id: string) =>
  execute(db, `update deliveries set due_at = now() - interval '1 second' where notification_id = '${id}'`);

onEveryDatabase('queue', (db) => {
  beforeEach(() => execute(db, 'truncate messages, notifications, deliveries, attempts, outcomes, webhook_endpoints'));

  test('what is claimed is leased, counted, and not claimed again before its lease ends', async () => {
    const ids = await enqueue(db, 3);
    const first = await claim(db, { limit: 2 });
    assert.equal(first.deliveries.length, 2);
    assert.ok(first.deliveries.every(({ attempt, type }) => attempt === 1 && type === 'test.event'));
    const second = await claim(db);
    assert.equal(second.deliveries.length, 1);
    assert.deepEqual([...first.deliveries, ...second.deliveries].map(({ id }) => id).sort(), ids.sort());
    const none = await claim(db);
    assert.deepEqual(none.deliveries, []);
    assert.equal(none.nextMs, null);
    const [held] = first.deliveries as [Delivery];
    await settle(db, [settlement(held, { outcome: 'retry', delayMs: 60_000, error: 'HTTP 500' })], 'd');
    const { nextMs } = await claim(db);
    assert.ok(nextMs !== null && nextMs > 50_000 && nextMs <= 60_000);
  });

  test('what 0.1.0 queued, without its message, is claimed like the rest', async () => {
    const ids = [...(await enqueue(db, 1)), ...(await enqueue(db, 1, await newEndpoint(db)))].sort();
    const parts = ({ id, type, body, channel, recipient }: Delivery) => ({ id, type, body, channel, recipient });
    const claimed = async () => {
      const { deliveries } = await claim(db);
      return deliveries.map(parts).sort((a, b) => (a.id < b.id ? -1 : 1));
    };
    const known = await claimed();
    assert.deepEqual(
      known.map(({ id }) => id),
      ids,
    );
    await execute(db, `update deliveries set message_id = null, lease = null, due_at = now() - interval '1 second'`);
    const old = await claimed();
    // A webhook has no use for the recipient that the test's insert gives it.
    assert.deepEqual(
      old.map((each) => (each.channel === 'webhook' ? { ...each, recipient: null } : each)),
      known,
    );
  });

  test('an attempt is dated by when it ended, not by when it was settled', async () => {
    await enqueue(db, 2);
    const [sent, failed] = (await claim(db)).deliveries as [Delivery, Delivery];
    const times = { durationMs: 2000, endedAt: -5000 };
    const before = performance.now();
    await settle(
      db,
      [settlement(sent, times), settlement(failed, { ...times, outcome: 'retry', delayMs: 60_000, error: 'HTTP 500' })],
      'd',
    );
    const [row] = await rowsOf<{ ended: number; began: number }>(
      db,
      `select (select extract(epoch from now() - finished_at)::float8 from outcomes) as ended,
              (select extract(epoch from now() - at)::float8 from attempts) as began`,
    );
    const laterS = (performance.now() - before) / 1000;
    const { ended, began } = row as { ended: number; began: number };
    assert.ok(ended >= 5 && ended <= 5.1 + laterS, `${ended}`);
    assert.ok(began >= 7 && began <= 7.1 + laterS, `${began}`);
  });

  test('an expired lease is simply due again, and its holder can change nothing any more', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const [old] = (await claim(db)).deliveries as [Delivery];
    await expire(db, id);
    const [current] = (await claim(db)).deliveries as [Delivery];
    assert.equal(current.id, id);
    assert.equal(current.attempt, 2);
    assert.notEqual(current.lease, old.lease);

    for (const outcome of ['sent', 'dead', 'retry', 'release'] as const) {
      const { settled } = await settle(db, [settlement(old, { outcome, delayMs: 9e6 })], 'the old one');
      assert.equal(settled, 0, outcome);
    }
    assert.equal((await extendLeases(db, [old], 9_000_000, inTime())).size, 0);
    const untouched = await stateOf(db, id);
    assert.equal(untouched.status, null);
    assert.deepEqual(untouched.log, []);
    assert.ok((untouched.dueInS as number) < 61);

    assert.equal((await settle(db, [settlement(current)], 'the new one')).settled, 1);
    const done = await stateOf(db, id);
    assert.deepEqual([done.status, done.attempts, done.attempt], ['sent', 2, null]);
    assert.deepEqual(done.log, [{ status: 204, error: null, dispatcher: 'the new one' }]);
  });

  test('a result under a lost lease beside the one that counts settles once, and holds nothing up', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const [old] = (await claim(db)).deliveries as [Delivery];
    await expire(db, id);
    const [current] = (await claim(db)).deliveries as [Delivery];
    const failed = settlement(old, { outcome: 'retry', status: 500, error: 'HTTP 500' });
    assert.equal((await settle(db, [failed, settlement(current), settlement(old)], 'd')).settled, 1);
    assert.deepEqual([(await stateOf(db, id)).status, (await stateOf(db, id)).log.length], ['sent', 1]);
  });

  test('of two leases of one notification, the one that was lost is not extended', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const [old] = (await claim(db)).deliveries as [Delivery];
    await expire(db, id);
    const [current] = (await claim(db)).deliveries as [Delivery];
    const kept = await extendLeases(db, [old, current], 60_000, inTime());
    assert.deepEqual([...kept], [keyOf(current)]);
  });

  test('a batch settles in one statement: sent, dead, to be retried, given back', async () => {
    await enqueue(db, 4);
    const [sent, dead, retry, back] = (await claim(db)).deliveries as [Delivery, Delivery, Delivery, Delivery];
    const { settled } = await settle(
      db,
      [
        settlement(sent),
        settlement(dead, { outcome: 'dead', status: 500, error: 'HTTP 500' }),
        settlement(retry, { outcome: 'retry', delayMs: 60_000, status: null, error: 'timed out' }),
        settlement(back, { outcome: 'release', status: null }),
      ],
      'd',
    );
    assert.equal(settled, 4);
    assert.equal((await stateOf(db, sent.id)).status, 'sent');
    const { status, attempts, lastError, log } = await stateOf(db, dead.id);
    assert.deepEqual([status, attempts, lastError, log.length], ['dead', 1, 'HTTP 500', 1]);
    const later = await stateOf(db, retry.id);
    assert.ok((later.dueInS as number) > 50 && (later.dueInS as number) <= 60);
    assert.deepEqual([later.attempt, later.leased, later.log.length], [1, false, 1]);
    const released = await stateOf(db, back.id);
    assert.deepEqual([released.attempt, released.leased, released.log.length], [0, false, 0]);
    assert.ok((released.dueInS as number) <= 0);
  });

  test('many dispatchers that claim at once share the work, each notification to one of them', async () => {
    const ids = await enqueue(db, 200);
    const claims = await Promise.all(Array.from({ length: 20 }, () => claim(db, { limit: 10 })));
    const claimed = claims.flatMap(({ deliveries }) => deliveries.map(({ id }) => id));
    assert.equal(new Set(claimed).size, claimed.length);
    while (claimed.length < ids.length) {
      const more = (await claim(db, { limit: 50 })).deliveries;
      assert.ok(more.length > 0);
      claimed.push(...more.map(({ id }) => id));
    }
    assert.deepEqual(claimed.sort(), ids.sort());
  });

  test('no more of one lane is claimed than it has room for, and the others are not held up', async () => {
    const slow = await newEndpoint(db);
    const other = await newEndpoint(db);
    await enqueue(db, 20, slow);
    await enqueue(db, 3, other);
    await enqueue(db, 5);
    const count = (deliveries: Delivery[], endpoint: string | null) =>
      deliveries.filter(({ endpointId }) => endpointId === endpoint).length;
    const first = await claim(db, { room: 2 });
    assert.deepEqual(
      [slow, other, null].map((lane) => count(first.deliveries, lane)),
      [2, 2, 2],
    );
    assert.deepEqual(first.more.sort(), [slow, other, EMAIL_LANE].sort());
    const full = await claim(db, { room: 2, rooms: { [slow]: 0 } });
    assert.deepEqual(
      [slow, other, null].map((lane) => count(full.deliveries, lane)),
      [0, 1, 2],
    );
    assert.deepEqual(full.more.sort(), [slow, EMAIL_LANE].sort());
    const room = await claim(db, { rooms: { [slow]: 7 } });
    assert.deepEqual([count(room.deliveries, slow), room.unfinished], [7, false]);
    assert.deepEqual((await claim(db)).more, []);
  });

  test('a lane that the claim does not name gives one, and so many of them', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, () => newEndpoint(db)));
    for (const id of ids) await enqueue(db, 2, id);
    const ask = {
      limit: 100,
      maxBytes: 1e6,
      slow: 0,
      after: FIRST_LANE,
      until: FIRST_LANE,
      name: 'd',
      everyMs: 5000,
      leaseMs: 60_000,
      rooms: {},
    };
    const lease = () => crypto.randomUUID();
    const some = await claimDeliveries(db, { ...ask, unnamed: 4, lease: lease() }, inTime());
    assert.equal(new Set(some.deliveries.map(({ endpointId }) => endpointId)).size, 4);
    assert.deepEqual([some.deliveries.length, some.moreUnnamed, some.more], [4, true, []]);
    const rest = await claimDeliveries(db, { ...ask, unnamed: 100, lease: lease() }, inTime());
    assert.deepEqual([rest.deliveries.length, rest.moreUnnamed], [6, true]);
    const last = await claimDeliveries(db, { ...ask, unnamed: 100, lease: lease() }, inTime());
    assert.deepEqual([last.deliveries.length, last.moreUnnamed, last.unfinished], [2, false, false]);
  });

  test('lanes that share a room give one each, and so many of them', async () => {
    const ids = await Promise.all(Array.from({ length: 4 }, () => newEndpoint(db)));
    for (const id of ids) await enqueue(db, 2, id);
    const rooms = Object.fromEntries(ids.map((id) => [id, SHARED]));
    const first = await claim(db, { rooms, slow: 3 });
    assert.equal(new Set(first.deliveries.map(({ endpointId }) => endpointId)).size, 3);
    assert.deepEqual([first.deliveries.length, first.more.sort()], [3, [...ids].sort()]);
    const second = await claim(db, { rooms, slow: 0 });
    assert.deepEqual([second.deliveries, second.more.sort()], [[], [...ids].sort()]);
  });

  test('claims go round: each begins after the lane at which the last one had enough', async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => newEndpoint(db)));
    for (const id of ids) await enqueue(db, 1, id);
    const seen: string[] = [];
    let after = [...ids].sort()[2] as string;
    for (const taken of [2, 2, 1]) {
      const { deliveries, cursor, unfinished } = await claim(db, { limit: 2, after });
      assert.deepEqual([deliveries.length, unfinished], [taken, taken === 2]);
      seen.push(...deliveries.map(({ endpointId }) => endpointId as string).sort());
      after = cursor;
    }
    const sorted = [...ids].sort();
    assert.deepEqual(seen, [...sorted.slice(3), ...sorted.slice(0, 3)]);
  });

  test('a claim brings no more bytes than it may, but always something', async () => {
    const body = JSON.stringify({ text: 'x'.repeat(9_990) });
    await enqueue(db, 10, null, body);
    await execute(db, `update deliveries set bytes = 10000`);
    assert.equal((await claim(db, { maxBytes: 35_000 })).deliveries.length, 3);
    const { deliveries, more } = await claim(db, { maxBytes: 10 });
    assert.deepEqual([deliveries.length, more], [1, [EMAIL_LANE]]);
  });

  test('an endpoint that keeps failing is paused, its queue waits unattempted, and a success ends the pause', async () => {
    const id = await newEndpoint(db);
    const ids = await enqueue(db, 12, id);
    const failed = (await claim(db, { limit: 10 })).deliveries;
    const untouched = ids.filter((each) => !failed.some((claimed) => claimed.id === each));
    const failure = { outcome: 'retry', delayMs: 10_000, status: 500, error: 'HTTP 500' } as const;
    const settledAt = performance.now();
    const { changes } = await settle(
      db,
      failed.map((each) => settlement(each, failure)),
      'd',
    );
    assert.deepEqual(changes, [{ id, status: 'paused' }]);
    const version = () => rowsOf<{ version: number }>(db, `select version from webhook_endpoints where id = '${id}'`);
    assert.deepEqual(await version(), [{ version: 2 }], 'its ETag tells');
    const paused = await endpointState(db, id);
    assert.equal(paused.status, 'paused');
    const sinceS = (performance.now() - settledAt) / 1000;
    assert.ok((paused.pauseS as number) > 28 - sinceS && (paused.pauseS as number) < 31);

    const { deliveries, more, nextMs } = await claim(db);
    assert.deepEqual([deliveries, more], [[], []]);
    assert.ok((nextMs as number) < 10_000, 'those that failed come first');
    const waiting = (await stateOf(db, untouched[0] as string)) as { dueInS: number };
    assert.ok(waiting.dueInS <= 0, 'a pause rewrites no row');
    await execute(db, `update webhook_endpoints set paused_until = now() - interval '1 ms' where id = '${id}'`);
    await execute(db, 'update deliveries set due_at = now()');
    const again = (await claim(db)).deliveries;
    assert.equal(again.length, 12);
    assert.deepEqual(again.map(({ attempt }) => attempt).sort(), [1, 1, ...Array(10).fill(2)]);
    const ended = await settle(db, [settlement(again[0] as Delivery)], 'd');
    assert.deepEqual(ended.changes, [{ id, status: 'enabled' }]);
    assert.deepEqual(await version(), [{ version: 3 }]);
    assert.deepEqual(
      { ...(await endpointState(db, id)) },
      { status: 'enabled', failures: 0, pauseS: null, failingSince: null },
    );
  });

  test('a pause is as long as there were rounds, however many fail in each, and an hour at most', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 40, id);
    const failure = { outcome: 'retry', delayMs: 0, status: 500, error: 'HTTP 500' } as const;
    const fail = async (count: number) => {
      const failed = (await claim(db, { limit: count })).deliveries;
      assert.equal(failed.length, count);
      return failed.map((each) => settlement(each, failure));
    };
    const around = async (seconds: number) => {
      const { pauseS } = await endpointState(db, id);
      assert.ok((pauseS as number) > seconds - 5 && (pauseS as number) < seconds + 1, `${pauseS} s`);
    };
    // Deliveries in progress when it was paused fail, too.
    const [first, second] = [await fail(10), await fail(30)];
    await settle(db, first, 'd');
    await around(30);
    assert.deepEqual((await settle(db, second, 'd')).changes, []);
    await around(30);
    for (const seconds of [60, 120, 240, 480, 960, 1920, 3600, 3600]) {
      // A millisecond column rounds, possibly up: a second ago is certainly over.
      const left = `(paused_until - now() + interval '1 second')`;
      const passed = `last_failed_at = last_failed_at - ${left}, paused_until = paused_until - ${left}`;
      await execute(db, `update webhook_endpoints set ${passed} where id = '${id}'`);
      const { changes } = await settle(db, await fail(4), 'd');
      assert.deepEqual(changes, [{ id, status: 'paused' }], 'again, so that what waits is released');
      await around(seconds);
    }
  });

  test('a pause on request lasts, whatever comes of what was under way, and is no reason to wake up', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 12, id);
    const [first, ...rest] = (await claim(db, { limit: 11 })).deliveries;
    await pauseEndpoint(db, { id, versions: null, now: new Date().toISOString(), sub: 'olga' }, inTime());
    const failure = { outcome: 'retry', delayMs: 1000, status: 500, error: 'HTTP 500' } as const;
    const failed = rest.map((each) => settlement(each, failure));
    for (const results of [failed, [settlement(first as Delivery)]]) {
      assert.deepEqual((await settle(db, results, 'd')).changes, []);
    }
    await execute(db, 'update deliveries set due_at = now()');
    const { deliveries, nextMs } = await claim(db);
    assert.deepEqual([deliveries, nextMs], [[], null]);
    const [{ status, failures } = { status: '', failures: -1 }] = await rowsOf<{ status: string; failures: number }>(
      db,
      `select status, failures from webhook_endpoints where id = '${id}'`,
    );
    assert.deepEqual({ status, failures }, { status: 'paused', failures: 0 });
    await enableEndpoint(db, { id, versions: null, now: new Date().toISOString(), sub: 'olga' }, inTime());
    assert.equal((await claim(db)).deliveries.length, 11);
  });

  test('a 410 disables an endpoint that failed before and is paused on request', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 2, id);
    const [first, second] = (await claim(db)).deliveries as [Delivery, Delivery];
    const failure = { outcome: 'retry', delayMs: 1000, status: 500, error: 'HTTP 500' } as const;
    await settle(db, [settlement(first, failure)], 'd');
    await pauseEndpoint(db, { id, versions: null, now: new Date().toISOString(), sub: 'olga' }, inTime());
    const gone = settlement(second, { outcome: 'dead', status: 410, error: 'HTTP 410' });
    assert.deepEqual((await settle(db, [gone], 'd')).changes, [{ id, status: 'disabled' }]);
  });

  test('what is never due holds nothing up', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 2, id);
    await execute(db, "update deliveries set due_at = 'infinity'");
    assert.equal((await claim(db)).nextMs, null);
    await enqueue(db, 1, id);
    const { deliveries, nextMs } = await claim(db);
    assert.deepEqual([deliveries.length, nextMs], [1, null]);
  });

  /** Sets an endpoint's failures, and how many hours ago they began and last occurred. */
  const hasFailed = (id: string, failures: number, since: number, last: number, status = 'enabled') =>
    execute(
      db,
      `update webhook_endpoints set status = '${status}', failures = ${failures},
         failing_since = now() - interval '${since} hours', last_failed_at = now() - interval '${last} hours'
       where id = '${id}'`,
    );

  /** Fails `count` deliveries to an endpoint at once, and returns the endpoint's state afterwards. */
  async function fail(id: string, count: number, own: Partial<Settlement> = {}) {
    await enqueue(db, count, id);
    const results = (await claim(db)).deliveries.map((each) =>
      settlement(each, { outcome: 'retry', delayMs: 9e6, status: 500, error: 'HTTP 500', ...own }),
    );
    assert.equal(results.length, count);
    await settle(db, results, 'd');
    const { status, failures, failingSince } = await endpointState(db, id);
    return [status, failures, failingSince && Math.floor((Date.now() - Date.parse(failingSince)) / 3_600_000)];
  }

  test('an endpoint is disabled after five days of failures, ten at least, and not for one after quiet days', async () => {
    const cases: [failures: number, since: number, last: number, after: unknown[]][] = [
      [1, 10 * 24, 10 * 24, ['enabled', 1, 0]],
      [30, 10 * 24, 49, ['enabled', 1, 0]],
      [30, 10 * 24, 47, ['disabled', 31, 240]],
      [9, 5 * 24 + 1, 47, ['disabled', 10, 121]],
      [8, 5 * 24 + 1, 47, ['enabled', 9, 121]],
      [9, 5 * 24 - 1, 1, ['paused', 10, 119]],
    ];
    for (const [failures, since, last, after] of cases) {
      const id = await newEndpoint(db);
      await hasFailed(id, failures, since, last);
      assert.deepEqual(await fail(id, 1), after, `${failures} failures since ${since} h, the last one ${last} h ago`);
    }
  });

  test('a pause counts the failures of an unbroken run: one after quiet days ends it', async () => {
    const id = await newEndpoint(db);
    await hasFailed(id, 40, 100, 49, 'paused');
    assert.deepEqual(await fail(id, 1), ['enabled', 1, 0]);
    assert.deepEqual(await fail(id, 8), ['enabled', 9, 0]);
    assert.deepEqual(await fail(id, 1), ['paused', 10, 0]);
  });

  test('an endpoint whose receiver says that it is gone is disabled at once', async () => {
    const id = await newEndpoint(db);
    assert.deepEqual(await fail(id, 1, { outcome: 'dead', status: 410, error: 'HTTP 410' }), ['disabled', 1, 0]);
    await enqueue(db, 1, id);
    const [refused] = (await claim(db)).deliveries as [Delivery];
    assert.equal(refused.endpoint?.status, 'disabled');
  });

  test('an endpoint that is gone is disabled though it was paused on request meanwhile', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 1, id);
    const [underWay] = (await claim(db)).deliveries as [Delivery];
    const pausedOnRequest = `status = 'paused', paused_until = 'infinity'`;
    await execute(db, `update webhook_endpoints set ${pausedOnRequest} where id = '${id}'`);
    await settle(db, [settlement(underWay, { outcome: 'dead', status: 410, error: 'HTTP 410' })], 'd');
    const [row] = await rowsOf<{ status: string }>(db, `select status from webhook_endpoints where id = '${id}'`);
    assert.equal(row?.status, 'disabled');
  });

  test('what came from the URL that an endpoint had before does not count against it', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 11, id);
    const { deliveries } = await claim(db);
    const url = deliveries[0]?.endpoint?.url;
    await execute(db, `update webhook_endpoints set url = url || 'new' where id = '${id}'`);
    const failures = deliveries.map((each, i) => {
      const failure = { outcome: 'retry', delayMs: 0, status: 500, error: 'HTTP 500', url } as const;
      return settlement(each, i === 0 ? { ...failure, outcome: 'dead', status: 410 } : failure);
    });
    assert.deepEqual(await settle(db, failures, 'd'), { settled: 11, changes: [] });
    // Failures at its current URL do.
    const again = (await claim(db)).deliveries;
    const counted = again.map((each) =>
      settlement(each, { outcome: 'retry', delayMs: 0, status: 500, url: each.endpoint?.url }),
    );
    assert.deepEqual((await settle(db, counted, 'd')).changes, [{ id, status: 'paused' }]);
  });

  test('what is no fault of the endpoint counts neither for it nor against it', async () => {
    const id = await newEndpoint(db);
    for (const outcome of ['retry', 'dead'] as const) {
      assert.deepEqual(await fail(id, 20, { outcome, status: null, blameless: true }), ['enabled', 0, null]);
    }
    await hasFailed(id, 30, 10 * 24, 1, 'paused');
    assert.deepEqual(await fail(id, 1, { status: null, blameless: true }), ['paused', 30, 240]);
    const other = await newEndpoint(db);
    await enqueue(db, 2, other);
    const [one, two] = (await claim(db)).deliveries as [Delivery, Delivery];
    const failed = { outcome: 'dead', status: 500, error: 'HTTP 500' } as const;
    await settle(db, [settlement(one, { ...failed, blameless: true }), settlement(two, failed)], 'd');
    assert.equal((await endpointState(db, other)).failures, 1);
    assert.deepEqual([(await stateOf(db, one.id)).status, (await stateOf(db, two.id)).status], ['dead', 'dead']);
  });

  test('a notification whose endpoint was deleted is claimed without one', async () => {
    const id = await newEndpoint(db);
    await enqueue(db, 1, id);
    await execute(db, 'delete from webhook_endpoints');
    const [orphan] = (await claim(db)).deliveries as [Delivery];
    assert.equal(orphan.endpoint, null);
    assert.equal(orphan.endpointId, id);
  });

  test('cancel is refused while a dispatcher holds the row, and final before and after', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const [held] = (await claim(db)).deliveries as [Delivery];
    await assert.rejects(cancelNotification(db, { id, sub: 'me' }, inTime()), { code: 'conflict' });
    await settle(db, [settlement(held, { outcome: 'retry', delayMs: 5000, error: 'HTTP 500' })], 'd');
    const canceled = await cancelNotification(db, { id, sub: 'me' }, inTime());
    assert.deepEqual([canceled.status, canceled.attempts, canceled.lastError], ['canceled', 1, 'HTTP 500']);
    assert.equal((await settle(db, [settlement(held)], 'd')).settled, 0);
    assert.equal((await stateOf(db, id)).status, 'canceled');
  });

  test('a dead notification that is redriven many times at once is queued once', async () => {
    const [id] = (await enqueue(db, 1)) as [string];
    const [held] = (await claim(db)).deliveries as [Delivery];
    await settle(db, [settlement(held, { outcome: 'dead', error: 'HTTP 500', status: 500 })], 'd');
    const tries = await Promise.allSettled(
      Array.from({ length: 10 }, () => redriveNotification(db, { id, sub: 'me' }, inTime())),
    );
    assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1);
    const again = await stateOf(db, id);
    assert.deepEqual([again.status, again.attempt, again.log.length], [null, 0, 1]);
  });

  test('the depth of the queue tells what waits, what is dead, and how long the oldest has waited', async () => {
    await enqueue(db, 3);
    await execute(db, `update deliveries set due_at = now() - interval '90 seconds'`);
    const [dead] = (await claim(db, { limit: 1 })).deliveries as [Delivery];
    await settle(db, [settlement(dead, { outcome: 'dead', error: 'HTTP 500', status: 500 })], 'd');
    const depth = await queueDepth(db, inTime());
    assert.deepEqual([depth.pending, depth.dead, depth.canceled], [2, 1, 0]);
    const [sent] = (await claim(db, { limit: 1 })).deliveries as [Delivery];
    await settle(db, [settlement(sent, { outcome: 'sent' })], 'd');
    assert.deepEqual(
      (await queueDepth(db, inTime())).sent - depth.sent,
      1,
      'counted, not estimated, as long as they are few',
    );
    assert.ok(depth.oldestDueS >= 90 && depth.oldestDueS < 100);
  });
});

test('a failure does not count against an endpoint whose URL changes while it is settled', async (t) => {
  const { db, name, close } = await openTestPostgres();
  t.after(close);
  const id = await newEndpoint(db);
  await enqueue(db, 11, id);
  const { deliveries } = await claim(db);
  const owner = await connectTo(name);
  await owner.text('begin');
  await owner.text(`update webhook_endpoints set url = url || 'new' where id = '${id}'`);
  const gone = deliveries.map((each) =>
    settlement(each, { outcome: 'dead', status: 410, error: 'HTTP 410', url: each.endpoint?.url }),
  );
  const settled = settle(db, gone, 'd');
  await untilBlocked(name, settled);
  await owner.text('commit');
  assert.deepEqual(await settled, { settled: 11, changes: [] });
  await owner.close();
  const [row] = await rowsOf<{ status: string }>(db, `select status from webhook_endpoints where id = '${id}'`);
  assert.equal(row?.status, 'enabled');
});
