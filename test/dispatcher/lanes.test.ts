// What may start and what may be claimed: arithmetic, with time as a number.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Delivery, SHARED } from '../../src/dispatcher/claims.ts';
import type { Held, Lanes, Limits } from '../../src/dispatcher/lane.ts';
import {
  allHeld,
  check,
  createLanes,
  EMAIL_LANE,
  extended,
  finish,
  GRACE_MS,
  hold,
  inFlight,
  noteBacklogs,
  removeExcess,
  removeWaiting,
  SLOW_MS,
  startNext,
} from '../../src/dispatcher/lanes.ts';
import { processLimits, roomForClaim, wantsClaim } from '../../src/dispatcher/rooms.ts';

const TIMEOUT_MS = 15_000;
const FAR = 1e9;
const limits: Limits = {
  ...processLimits({ concurrency: 16 }),
  concurrency: 16,
  batch: 100,
  deliveryTimeoutMs: TIMEOUT_MS,
};
let ids = 0;

function deliveries(endpointId: string | null, count: number, body = '{}'): Delivery[] {
  const channel = endpointId === null ? 'email' : 'webhook';
  const rest = {
    lease: 'l',
    attempt: 1,
    type: 't',
    body,
    channel,
    recipient: null,
    traceparent: null,
    endpointId,
    endpoint: null,
  } as const;
  return Array.from({ length: count }, () => ({ id: `n${++ids}`, ...rest }));
}

/** Starts all that may start. */
function startAll(lanes: Lanes, now: number): Held[] {
  const started: Held[] = [];
  for (let held = startNext(lanes, now); held; held = startNext(lanes, now)) started.push(held);
  return started;
}

/** Delivers `count` for a lane, each taking `ms`, so that the lane is known. */
function deliver(lanes: Lanes, endpointId: string, count: number, ms: number, from = 0): number {
  let now = from;
  for (let i = 0; i < count; i++) {
    hold(lanes, deliveries(endpointId, 1), FAR);
    const [held] = startAll(lanes, now) as [Held];
    now += ms;
    if (ms >= SLOW_MS) check(lanes, now);
    finish(lanes, held, now);
  }
  return now;
}

test('a lane begins with one; once that has ended quickly, it may take a quarter of the slots', () => {
  const lanes = createLanes(limits);
  hold(lanes, deliveries('a', 20), FAR);
  const underWay: number[] = [];
  for (let round = 0; round < 4; round++) {
    const started = startAll(lanes, round * 10);
    underWay.push(lanes.quick.length);
    for (const held of started) finish(lanes, held, round * 10 + 5);
  }
  assert.deepEqual(underWay, [1, 4, 4, 4]);
});

test('email is bounded like an endpoint', () => {
  const lanes = createLanes(limits);
  hold(lanes, deliveries(null, 50), FAR);
  assert.equal(startAll(lanes, 0).length, 1);
  assert.equal(roomForClaim(lanes).rooms[EMAIL_LANE], 0);
});

test('lanes that are new try half of the slots, so that the others have the rest', () => {
  const lanes = createLanes(limits);
  deliver(lanes, 'known', 10, 5);
  for (let i = 0; i < 30; i++) hold(lanes, deliveries(`new-${i}`, 1), FAR);
  assert.equal(startAll(lanes, 100).length, 8);
  hold(lanes, deliveries('known', 10), FAR);
  assert.equal(startAll(lanes, 101).length, 4, 'its quarter');
});

test('what turns slow leaves its slot, and slow lanes fill half of the overflow and no slot', () => {
  const lanes = createLanes(limits);
  let now = 0;
  for (let i = 0; i < limits.overflowConcurrency; i++) {
    hold(lanes, deliveries(`slow-${i}`, 1), FAR);
    startAll(lanes, now);
    now += SLOW_MS;
    check(lanes, now);
  }
  assert.deepEqual(
    [lanes.quick.length, lanes.slow.length],
    [0, limits.overflowConcurrency],
    'each was tried while there was room',
  );
  for (const held of [...lanes.slow].slice(8)) finish(lanes, held, now);
  for (let i = 0; i < limits.overflowConcurrency; i++) hold(lanes, deliveries(`slow-${i}`, 4), FAR);
  startAll(lanes, now);
  const slow = [...lanes.slow].filter(({ lane }) => lane.pace === 'slow');
  assert.equal(slow.length, limits.overflowConcurrency / 2);
  deliver(lanes, 'good', 1, 3, now);
  hold(lanes, deliveries('good', 2), FAR);
  assert.equal(startAll(lanes, now).filter(({ lane }) => lane.id === 'good').length, 2, 'at once');
});

test('one slow delivery costs a lane its window and not its place: a quick one makes it fast again', () => {
  const lanes = createLanes(limits);
  const now = deliver(lanes, 'a', 1, SLOW_MS + 1, deliver(lanes, 'a', 5, 5));
  assert.deepEqual([lanes.byId.get('a')?.pace, lanes.byId.get('a')?.window], ['slow', 1]);
  deliver(lanes, 'a', 1, 5, now);
  assert.deepEqual([lanes.byId.get('a')?.pace, lanes.byId.get('a')?.window], ['fast', 3]);
});

test('a hanging delivery leaves the rest of its lane its room', () => {
  const lanes = createLanes(limits);
  const now = deliver(lanes, 'a', 5, 5);
  hold(lanes, deliveries('a', 1), FAR);
  startAll(lanes, now);
  check(lanes, now + SLOW_MS);
  hold(lanes, deliveries('a', 9), FAR);
  assert.equal(startAll(lanes, now + SLOW_MS).length, limits.laneConcurrency - 1);
});

test('a fast lane holds what it starts within a second, a slow one what it can start, a full one nothing more', () => {
  const lanes = createLanes(limits);
  deliver(lanes, 'fast', 20, 100);
  deliver(lanes, 'slow', 1, SLOW_MS);
  hold(lanes, deliveries('full', 1), FAR);
  const { rooms, unnamed, slow, limit } = roomForClaim(lanes);
  assert.deepEqual(rooms, { fast: 40, slow: SHARED, full: 0 });
  assert.deepEqual([unnamed, slow], [7, 16]);
  assert.equal(limit, 100, 'and no more than a batch');
});

test('a claim is made when a look is due and there is room, or when a lane with a backlog has run low', () => {
  const lanes = createLanes(limits);
  deliver(lanes, 'a', 20, 100);
  assert.deepEqual([wantsClaim(lanes, true), wantsClaim(lanes, false)], [true, false]);
  noteBacklogs(lanes, [], new Set(['a']), false);
  assert.equal(wantsClaim(lanes, false), true);
  hold(lanes, deliveries('a', 30), FAR);
  assert.equal(wantsClaim(lanes, false), false, 'more than half is there');
  noteBacklogs(lanes, ['a'], new Set(), true);
  assert.equal(wantsClaim(lanes, false), true, 'lanes that are not known here have something');
});

test('bodies that wait are bounded in bytes', () => {
  const lanes = createLanes({ ...limits, maxWaitingBytes: 1000 });
  deliver(lanes, 'a', 20, 5);
  hold(lanes, deliveries('a', 10, 'x'.repeat(60)), FAR);
  assert.equal(roomForClaim(lanes).maxBytes, 400);
  assert.equal(roomForClaim(lanes).rooms.a, 0, 'the other half is for lanes that have nothing yet');
  hold(lanes, deliveries('b', 10, 'x'.repeat(60)), FAR);
  assert.equal(wantsClaim(lanes, true), false);
});

test('nothing starts under a lease that it might outlive, until the lease is extended', () => {
  const lanes = createLanes(limits);
  hold(lanes, deliveries('a', 1), 20_000);
  assert.equal(startNext(lanes, 5001), undefined);
  assert.equal(lanes.leasesTooShort, true);
  extended(lanes, allHeld(lanes), 60_000);
  assert.equal(lanes.leasesTooShort, false);
  assert.equal(startAll(lanes, 5001).length, 1);
});

test('what should be over by now is told, and what has ended once cannot end again', () => {
  const lanes = createLanes(limits);
  hold(lanes, deliveries('a', 1), FAR);
  const [held] = startAll(lanes, 0) as [Held];
  assert.deepEqual(check(lanes, SLOW_MS), []);
  assert.equal(lanes.checkAt, TIMEOUT_MS + GRACE_MS);
  assert.deepEqual(check(lanes, TIMEOUT_MS + GRACE_MS), [held]);
  assert.deepEqual([finish(lanes, held, 16_000), finish(lanes, held, 16_000)], [true, false]);
});

test('a lane that turns slow gives back what it holds beyond its room, and everything can be given back', () => {
  const lanes = createLanes(limits);
  const now = deliver(lanes, 'a', 20, 5);
  hold(lanes, deliveries('a', 40), FAR);
  const [first] = startAll(lanes, now) as [Held];
  check(lanes, now + SLOW_MS);
  assert.equal(removeExcess(lanes, first.lane).length, 36);
  hold(lanes, deliveries('b', 3), FAR);
  assert.equal(removeWaiting(lanes, ({ lane }) => lane.id === 'b').length, 3);
  assert.deepEqual([lanes.waiting, lanes.waitingBytes], [0, 0]);
});

test('lanes that are idle are forgotten past a thousand; those with work are not', () => {
  const lanes = createLanes(limits);
  hold(lanes, deliveries('busy', 1), FAR);
  for (let i = 0; i < 5000; i++) noteBacklogs(lanes, [`idle-${i}`], new Set(), false);
  for (let i = 0; i < 5000; i++) {
    hold(lanes, deliveries(`idle-${i}`, 1), FAR);
    removeWaiting(lanes, ({ lane }) => lane.id === `idle-${i}`);
  }
  assert.ok(lanes.byId.size <= 1000);
  assert.ok(lanes.byId.has('busy'));
});

test('a lane that was forgotten, and of which a claim tells that it has more, is claimed from again', () => {
  const lanes = createLanes(limits);
  for (let i = 0; i < 1000; i++) deliver(lanes, `known-${i}`, 1, 5);
  hold(lanes, deliveries('stranger', 1), FAR);
  noteBacklogs(lanes, ['known-1'], new Set(['known-1']), false);
  assert.equal(lanes.byId.get('known-1')?.pace, 'new');
  const [held] = startAll(lanes, 0) as [Held];
  assert.equal(wantsClaim(lanes, false), true);
  finish(lanes, held, 5);
  assert.deepEqual([wantsClaim(lanes, false), roomForClaim(lanes).rooms['known-1']], [true, 1]);
  hold(lanes, deliveries('known-1', 1), FAR);
  assert.equal(wantsClaim(lanes, false), false, 'one is enough to try it');
});

test('slow deliveries leave the slots once the overflow has room for them', () => {
  const lanes = createLanes(limits);
  const ids = Array.from({ length: 48 }, (_, i) => `e${i}`);
  for (const id of ids) deliver(lanes, id, 1, 5);
  for (const id of ids) hold(lanes, deliveries(id, 1), FAR);
  let now = 100;
  for (let i = 0; i < 3; i++) {
    assert.equal(startAll(lanes, now).length, 16);
    now += SLOW_MS;
    check(lanes, now);
  }
  assert.deepEqual([lanes.quick.length, lanes.slow.length], [16, 32]);
  const [oldest] = lanes.quick as [Held];
  // As after a quick delivery of the same lane, which has ended meanwhile.
  oldest.lane.window = 3;
  for (const [i, held] of lanes.slow.slice(0, 16).entries()) {
    finish(lanes, held, now + 500);
    if (i === 0) assert.deepEqual([oldest.stage, oldest.lane.pace, oldest.lane.window], ['slow', 'slow', 1]);
  }
  assert.deepEqual([lanes.quick.length, lanes.slow.length], [0, 32]);
  for (const held of lanes.slow.slice(0, 3)) finish(lanes, held, now + 500);
  assert.equal(lanes.slow.length, 29);
});

test('what has been delivered is garbage at once, even after a full collection', () => {
  setFlagsFromString('--expose-gc');
  const gc: (options?: { type: 'minor' }) => void = runInNewContext('gc');
  const lanes = createLanes({ ...limits, ...processLimits({ concurrency: 400 }), concurrency: 400 });
  const churn = (count: number) => {
    for (let i = 0; i < count; i++) {
      hold(lanes, deliveries('a', 1, randomBytes(5000).toString('hex')), FAR);
      startAll(lanes, i);
      if (inFlight(lanes).length > 90) finish(lanes, inFlight(lanes)[i % 90] as Held, i);
    }
  };
  deliver(lanes, 'a', 5, 1);
  churn(500);
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 10; i++) {
    churn(200);
    gc({ type: 'minor' });
  }
  const grownMb = (process.memoryUsage().heapUsed - before) / 1e6;
  assert.ok(grownMb < 5, `${grownMb.toFixed(1)} of 20 MB are still there`);
});

test('a slow lane has its turn where few may be under way, however many new ones keep coming', () => {
  const few = { ...limits, concurrency: 5, overflowConcurrency: 3, totalConcurrency: 5, laneConcurrency: 2 };
  const lanes = createLanes(few);
  let now = deliver(lanes, 'slow', 1, 2000);
  hold(
    lanes,
    ['a', 'b', 'c'].flatMap((id) => deliveries(id, 1)),
    FAR,
  );
  const trying = startAll(lanes, now);
  assert.equal(trying.length, 3);
  assert.equal(roomForClaim(lanes).slow, 1, 'one is claimed ahead');
  hold(lanes, deliveries('slow', 5), FAR);
  assert.equal(roomForClaim(lanes).slow, 0);
  for (let n = 0; n < 20; n++) {
    now += 100;
    hold(lanes, deliveries(`stranger-${n}`, 1), FAR);
    finish(lanes, trying.shift() as Held, now);
    const started = startAll(lanes, now);
    if (started.some(({ lane }) => lane.id === 'slow')) return assert.ok(n < 3, `after ${n}`);
    trying.push(...started);
  }
  assert.fail('it never started');
});
