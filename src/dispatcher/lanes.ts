import type { Delivery } from './claims.ts';
import type { Held, Lane, Lanes, Limits, Pace } from './lane.ts';
import { activeOf, hasRoom, heldOf, holdLimit, startRoom } from './rooms.ts';

/** An id that sorts before every lane. */
export const FIRST_LANE = '00000000-0000-0000-0000-000000000000';
/** The lane of all email, with the same limits as other lanes. Its id sorts after every endpoint's. */
export const EMAIL_LANE = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** The age in milliseconds at which a delivery is slow. It and its lane then leave the slots to others. */
export const SLOW_MS = 1000;
/** Milliseconds past its time limit that a channel gets to settle. */
export const GRACE_MS = 500;
/** By how much the window of a lane that was slow grows with each quick delivery. */
const GROWTH = 2;
/** How many lanes are remembered. Beyond this number, idle ones are forgotten. */
const REMEMBERED_LANES = 1000;
/** The weight of the newest delivery in an average. */
const WEIGHT = 0.2;

export function createLanes(limits: Limits): Lanes {
  return {
    limits,
    byId: new Map(),
    quick: [],
    slow: [],
    ready: { new: new Set(), fast: new Set(), slow: new Set() },
    startable: { new: 0, fast: 0, slow: 0 },
    runningLow: { new: 0, fast: 0, slow: 0 },
    waiting: 0,
    waitingBytes: 0,
    probing: 0,
    averageMs: 0,
    moreUnnamed: false,
    leasesTooShort: false,
    checkAt: Number.POSITIVE_INFINITY,
  };
}

function laneOf(lanes: Lanes, id: string): Lane {
  const known = lanes.byId.get(id);
  if (known) return known;
  if (lanes.byId.size >= REMEMBERED_LANES) {
    for (const lane of lanes.byId.values()) if (heldOf(lane) === 0 && !lane.backlog) lanes.byId.delete(lane.id);
  }
  const counts = { quick: 0, slow: 0, startable: 0, averageMs: 0 };
  const lane: Lane = { id, pace: 'new', window: 1, waiting: [], ...counts, backlog: false, runningLow: false };
  lanes.byId.set(id, lane);
  return lane;
}

/** Removes a lane from the sums before it changes; `count` adds it again. Every change is between the two. */
function uncount(lanes: Lanes, lane: Lane): void {
  lanes.startable[lane.pace] -= lane.startable;
  lanes.runningLow[lane.pace] -= Number(lane.runningLow);
  if (lane.pace === 'new') lanes.probing -= activeOf(lane);
}

function count(lanes: Lanes, lane: Lane): void {
  const held = heldOf(lane);
  const room = holdLimit(lanes.limits, lane) - held;
  lane.startable = Math.min(lane.waiting.length, startRoom(lanes.limits, lane));
  // A fast lane is worth a claim once half has started, a slow one after each delivery.
  lane.runningLow = lane.backlog && room > 0 && (lane.pace === 'slow' || room >= held);
  lanes.startable[lane.pace] += lane.startable;
  lanes.runningLow[lane.pace] += Number(lane.runningLow);
  if (lane.startable > 0) lanes.ready[lane.pace].add(lane);
  else lanes.ready[lane.pace].delete(lane);
  if (lane.pace === 'new') lanes.probing += activeOf(lane);
}

function setPace(lanes: Lanes, lane: Lane, pace: Pace): void {
  if (lane.pace === pace) return;
  lanes.ready[lane.pace].delete(lane);
  lane.pace = pace;
}

/** Adds deliveries that were claimed under leases that expire at `leasedUntil`. */
export function hold(lanes: Lanes, deliveries: readonly Delivery[], leasedUntil: number): void {
  const changed = new Set<Lane>();
  for (const delivery of deliveries) {
    const lane = laneOf(lanes, delivery.endpointId ?? EMAIL_LANE);
    if (!changed.has(lane)) uncount(lanes, lane);
    changed.add(lane);
    lane.waiting.push({ delivery, lane, leasedUntil, startedAt: 0, stage: 'waiting', place: 0 });
    lanes.waiting++;
    lanes.waitingBytes += delivery.body.length;
  }
  for (const lane of changed) count(lanes, lane);
}

/** Notes which of the lanes named in a claim have more due, and whether other lanes do. */
export function noteBacklogs(
  lanes: Lanes,
  seen: Iterable<string>,
  more: ReadonlySet<string>,
  moreUnnamed: boolean,
): void {
  lanes.moreUnnamed = moreUnnamed;
  for (const id of seen) {
    const lane = lanes.byId.get(id);
    if (lane) noteBacklog(lanes, lane, more.has(id));
  }
  for (const id of more) noteBacklog(lanes, laneOf(lanes, id), true);
}

function noteBacklog(lanes: Lanes, lane: Lane, backlog: boolean): void {
  uncount(lanes, lane);
  lane.backlog = backlog;
  count(lanes, lane);
}

/**
 * Starts the next delivery that may start, or returns undefined. Lanes take turns. Fast lanes come last: the room of the
 * others is small, and cannot be filled by fast ones.
 */
export function startNext(lanes: Lanes, now: number): Held | undefined {
  for (const pace of ['new', 'slow', 'fast'] as const) {
    if (lanes.ready[pace].size === 0 || !hasRoom(lanes, pace)) continue;
    for (const lane of lanes.ready[pace]) {
      // Otherwise it might still be under way when another dispatcher claims it.
      if ((lane.waiting[0] as Held).leasedUntil - now < lanes.limits.deliveryTimeoutMs) {
        lanes.leasesTooShort = true;
        lanes.ready[pace].delete(lane);
        continue;
      }
      return startFrom(lanes, lane, now);
    }
  }
  return undefined;
}

function startFrom(lanes: Lanes, lane: Lane, now: number): Held {
  const { pace } = lane;
  uncount(lanes, lane);
  const held = lane.waiting.shift() as Held;
  leaveWaiting(lanes, held);
  held.stage = pace === 'slow' ? 'slow' : 'quick';
  held.startedAt = now;
  lane[held.stage]++;
  add(lanes[held.stage], held);
  count(lanes, lane);
  // Moves to the end of the queue.
  if (lanes.ready[pace].size > 1 && lanes.ready[pace].delete(lane)) lanes.ready[pace].add(lane);
  const checkAfterMs = pace === 'slow' ? lanes.limits.deliveryTimeoutMs + GRACE_MS : SLOW_MS;
  lanes.checkAt = Math.min(lanes.checkAt, now + checkAfterMs);
  return held;
}

/** Moves deliveries that became slow to the overflow, and returns those that exceeded their time limit. */
export function check(lanes: Lanes, now: number): Held[] {
  const isSlow = ({ startedAt }: Held) => now - startedAt >= SLOW_MS;
  const oldestFirst = lanes.quick.filter(isSlow).sort((a, b) => a.startedAt - b.startedAt);
  for (const held of oldestFirst) turnSlow(lanes, held);
  lanes.checkAt = Number.POSITIVE_INFINITY;
  const overdue: Held[] = [];
  for (const held of inFlight(lanes)) {
    const endsAt = held.startedAt + lanes.limits.deliveryTimeoutMs + GRACE_MS;
    const checkAt = held.stage === 'slow' || isSlow(held) ? endsAt : held.startedAt + SLOW_MS;
    if (endsAt <= now) overdue.push(held);
    else lanes.checkAt = Math.min(lanes.checkAt, checkAt);
  }
  return overdue;
}

function turnSlow(lanes: Lanes, held: Held): void {
  const { lane } = held;
  uncount(lanes, lane);
  setPace(lanes, lane, 'slow');
  lane.window = 1;
  if (lanes.slow.length < lanes.limits.overflowConcurrency) {
    held.stage = 'slow';
    lane.quick--;
    lane.slow++;
    remove(lanes.quick, held);
    add(lanes.slow, held);
  }
  count(lanes, lane);
}

/** Removes a delivery that has ended. Returns false if it was removed before. */
export function finish(lanes: Lanes, held: Held, now: number): boolean {
  const { lane, stage } = held;
  if (stage !== 'quick' && stage !== 'slow') return false;
  const ms = now - held.startedAt;
  uncount(lanes, lane);
  held.stage = 'over';
  remove(lanes[stage], held);
  lane[stage]--;
  if (ms < SLOW_MS) {
    const { laneConcurrency } = lanes.limits;
    lane.window = lane.pace === 'new' ? laneConcurrency : Math.min(laneConcurrency, lane.window + GROWTH);
    setPace(lanes, lane, 'fast');
    lane.averageMs = average(lane.averageMs, ms);
    lanes.averageMs = average(lanes.averageMs, ms);
  } else {
    setPace(lanes, lane, 'slow');
    lane.window = 1;
  }
  count(lanes, lane);
  if (stage === 'slow') refillOverflow(lanes, now);
  return true;
}

/** Moves the oldest slow delivery that found the overflow full to the place that is free now. */
function refillOverflow(lanes: Lanes, now: number): void {
  if (lanes.slow.length !== lanes.limits.overflowConcurrency - 1) return;
  const late = lanes.quick.filter(({ startedAt }) => now - startedAt >= SLOW_MS);
  const [oldest] = late.sort((a, b) => a.startedAt - b.startedAt);
  if (oldest) turnSlow(lanes, oldest);
}

function add(underWay: Held[], held: Held): void {
  held.place = underWay.push(held) - 1;
}

/** The last one takes its place. */
function remove(underWay: Held[], { place }: Held): void {
  const last = underWay.pop() as Held;
  if (last.place === place) return;
  underWay[place] = last;
  last.place = place;
}

function leaveWaiting(lanes: Lanes, { delivery }: Held): void {
  lanes.waiting--;
  lanes.waitingBytes -= delivery.body.length;
}

/** Removes the waiting deliveries that `which` selects, and returns them. */
export function removeWaiting(lanes: Lanes, which: (held: Held) => boolean): Delivery[] {
  const out: Held[] = [];
  for (const lane of lanes.byId.values()) {
    if (lane.waiting.length === 0) continue;
    const leaving = new Set(lane.waiting.filter(which));
    uncount(lanes, lane);
    lane.waiting = lane.waiting.filter((held) => !leaving.has(held));
    count(lanes, lane);
    out.push(...leaving);
  }
  return markRemoved(lanes, out);
}

/** Removes deliveries that wait in a slow lane beyond its limit (claimed while it was fast), and returns them. */
export function removeExcess(lanes: Lanes, lane: Lane): Delivery[] {
  const most = startRoom(lanes.limits, lane);
  if (lane.pace !== 'slow' || lane.waiting.length <= most) return [];
  uncount(lanes, lane);
  const out = lane.waiting.splice(most);
  lane.backlog = true;
  count(lanes, lane);
  return markRemoved(lanes, out);
}

function markRemoved(lanes: Lanes, out: Held[]): Delivery[] {
  for (const held of out) {
    held.stage = 'over';
    leaveWaiting(lanes, held);
  }
  return out.map(({ delivery }) => delivery);
}

/** All deliveries under way. */
export const inFlight = (lanes: Lanes): Held[] => [...lanes.quick, ...lanes.slow];
/** All deliveries that wait or are under way. */
export const allHeld = (lanes: Lanes): Held[] => [
  ...Array.from(lanes.byId.values(), ({ waiting }) => waiting).flat(),
  ...inFlight(lanes),
];

/** Notes that the leases of `kept` expire at `leasedUntil`. */
export function extended(lanes: Lanes, kept: Iterable<Held>, leasedUntil: number): void {
  lanes.leasesTooShort = false;
  for (const held of kept) {
    held.leasedUntil = leasedUntil;
    if (held.stage !== 'waiting') continue;
    uncount(lanes, held.lane);
    count(lanes, held.lane);
  }
}

function average(before: number, ms: number): number {
  return Math.max(1, before === 0 ? ms : before + (ms - before) * WEIGHT);
}
