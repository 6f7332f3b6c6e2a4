import type { Delivery } from './claims.ts';
import { activeOf, hasRoom, heldOf, holdOf, type Limits, openOf } from './rooms.ts';

/** A delivery in this dispatcher's hands. Times are the clock's milliseconds. */
export type Held = {
  readonly delivery: Delivery;
  readonly lane: Lane;
  leasedUntil: number;
  startedAt: number;
  stage: 'waiting' | 'quick' | 'slow' | 'over';
};

/** `new` until its first delivery has ended or turned slow; from then on, as fast as its latest. */
export type Pace = 'new' | 'fast' | 'slow';

/** An endpoint's deliveries, or email's. */
export type Lane = {
  readonly id: string;
  pace: Pace;
  /** How many quick ones may be under way: one, then all it has room for; after a slow one, one and then two more each. */
  window: number;
  waiting: Held[];
  quick: number;
  slow: number;
  averageMs: number;
  /** Whether the queue is known to hold more that is due. */
  backlog: boolean;
  /** How many of those that wait could start if the process had room, and whether it has run low on them. */
  startable: number;
  hungry: boolean;
};

/** All that a dispatcher holds. `startable`, `hungry` and `ready` sum up the lanes by pace: see `count`. */
export type Lanes = {
  readonly limits: Limits;
  readonly byId: Map<string, Lane>;
  readonly quick: Set<Held>;
  readonly slow: Set<Held>;
  readonly ready: Record<Pace, Set<Lane>>;
  readonly startable: Record<Pace, number>;
  readonly hungry: Record<Pace, number>;
  waiting: number;
  waitingBytes: number;
  /** Under way in lanes that are new. */
  trying: number;
  averageMs: number;
  /** Whether lanes that are not known here have something due. */
  moreStrangers: boolean;
  /** Whether something waits that cannot start before its lease is extended. */
  leasesTooShort: boolean;
  /** When `check` is to be called next. */
  checkAt: number;
};

/** Comes before every lane. */
export const FIRST_LANE = '00000000-0000-0000-0000-000000000000';
/** Email's lane, as bounded as any endpoint's; comes after every endpoint's id. */
export const EMAIL_LANE = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/** From this age on, in milliseconds, a delivery is slow: it leaves its slot to others, and so does its lane. */
export const SLOW_MS = 1000;
/** How long after its time a channel may still end by itself. */
export const GRACE_MS = 500;
/** How many more a lane that was slow may start after each that ends quickly. */
const GROWTH = 2;
/** Lanes that are remembered; past it those that are idle are forgotten. */
const REMEMBERED = 1000;
/** The share of the newest delivery in an average. */
const WEIGHT = 0.2;

export function createLanes(limits: Limits): Lanes {
  return {
    limits,
    byId: new Map(),
    quick: new Set(),
    slow: new Set(),
    ready: { new: new Set(), fast: new Set(), slow: new Set() },
    startable: { new: 0, fast: 0, slow: 0 },
    hungry: { new: 0, fast: 0, slow: 0 },
    waiting: 0,
    waitingBytes: 0,
    trying: 0,
    averageMs: 0,
    moreStrangers: false,
    leasesTooShort: false,
    checkAt: Number.POSITIVE_INFINITY,
  };
}

function laneOf(lanes: Lanes, id: string): Lane {
  const known = lanes.byId.get(id);
  if (known) return known;
  if (lanes.byId.size >= REMEMBERED) {
    for (const lane of lanes.byId.values()) if (heldOf(lane) === 0 && !lane.backlog) lanes.byId.delete(lane.id);
  }
  const counts = { quick: 0, slow: 0, startable: 0, averageMs: 0 };
  const lane: Lane = { id, pace: 'new', window: 1, waiting: [], ...counts, backlog: false, hungry: false };
  lanes.byId.set(id, lane);
  return lane;
}

/** Takes a lane out of the sums before it changes; `count` puts it back. Every change stands between the two. */
function uncount(lanes: Lanes, lane: Lane): void {
  lanes.startable[lane.pace] -= lane.startable;
  lanes.hungry[lane.pace] -= Number(lane.hungry);
  if (lane.pace === 'new') lanes.trying -= activeOf(lane);
}

function count(lanes: Lanes, lane: Lane): void {
  const held = heldOf(lane);
  const room = holdOf(lanes.limits, lane) - held;
  lane.startable = Math.min(lane.waiting.length, openOf(lanes.limits, lane));
  // What is fast is worth a claim once half is gone; what is slow, one by one.
  lane.hungry = lane.backlog && room > 0 && (lane.pace === 'slow' || room >= held);
  lanes.startable[lane.pace] += lane.startable;
  lanes.hungry[lane.pace] += Number(lane.hungry);
  if (lane.startable > 0) lanes.ready[lane.pace].add(lane);
  else lanes.ready[lane.pace].delete(lane);
  if (lane.pace === 'new') lanes.trying += activeOf(lane);
}

function setPace(lanes: Lanes, lane: Lane, pace: Pace): void {
  if (lane.pace === pace) return;
  lanes.ready[lane.pace].delete(lane);
  lane.pace = pace;
}

/** Takes in what was claimed under leases that end at `leasedUntil`. */
export function hold(lanes: Lanes, deliveries: readonly Delivery[], leasedUntil: number): void {
  const changed = new Set<Lane>();
  for (const delivery of deliveries) {
    const lane = laneOf(lanes, delivery.endpointId ?? EMAIL_LANE);
    if (!changed.has(lane)) uncount(lanes, lane);
    changed.add(lane);
    lane.waiting.push({ delivery, lane, leasedUntil, startedAt: 0, stage: 'waiting' });
    lanes.waiting++;
    lanes.waitingBytes += delivery.body.length;
  }
  for (const lane of changed) count(lanes, lane);
}

/** Notes which of the lanes that a claim looked at have more that is due, and whether unnamed ones have. */
export function noteBacklogs(
  lanes: Lanes,
  seen: Iterable<string>,
  more: ReadonlySet<string>,
  strangers: boolean,
): void {
  lanes.moreStrangers = strangers;
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
 * Starts the next delivery that may start; lanes take turns. Undefined where none may. Fast lanes come last: the others'
 * room is small, and they cannot fill it.
 */
export function startNext(lanes: Lanes, now: number): Held | undefined {
  for (const pace of ['new', 'slow', 'fast'] as const) {
    if (lanes.ready[pace].size === 0 || !hasRoom(lanes, pace)) continue;
    for (const lane of lanes.ready[pace]) {
      // It might still be under way when another dispatcher takes it.
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
  lanes[held.stage].add(held);
  count(lanes, lane);
  // To the end of the line.
  if (lanes.ready[pace].size > 1 && lanes.ready[pace].delete(lane)) lanes.ready[pace].add(lane);
  const patience = pace === 'slow' ? lanes.limits.deliveryTimeoutMs + GRACE_MS : SLOW_MS;
  lanes.checkAt = Math.min(lanes.checkAt, now + patience);
  return held;
}

/** Moves what has become slow to the overflow, where there is room, and returns what should be over by now. */
export function check(lanes: Lanes, now: number): Held[] {
  const { quick, slow, limits } = lanes;
  lanes.checkAt = Number.POSITIVE_INFINITY;
  // The oldest come first.
  for (const held of quick) {
    if (now - held.startedAt < SLOW_MS) {
      lanes.checkAt = held.startedAt + SLOW_MS;
      break;
    }
    turnSlow(lanes, held);
  }
  const overdue: Held[] = [];
  for (const held of [...quick, ...slow]) {
    const endsAt = held.startedAt + limits.deliveryTimeoutMs + GRACE_MS;
    if (endsAt <= now) overdue.push(held);
    else if (held.stage === 'slow' || now - held.startedAt >= SLOW_MS) lanes.checkAt = Math.min(lanes.checkAt, endsAt);
  }
  return overdue;
}

function turnSlow(lanes: Lanes, held: Held): void {
  const { lane } = held;
  uncount(lanes, lane);
  setPace(lanes, lane, 'slow');
  lane.window = 1;
  if (lanes.slow.size < lanes.limits.overflowConcurrency) {
    held.stage = 'slow';
    lane.quick--;
    lane.slow++;
    lanes.quick.delete(held);
    lanes.slow.add(held);
  }
  count(lanes, lane);
}

/** Takes out what has ended. Returns false where it was taken out before. */
export function finish(lanes: Lanes, held: Held, now: number): boolean {
  const { lane, stage } = held;
  if (stage !== 'quick' && stage !== 'slow') return false;
  const ms = now - held.startedAt;
  uncount(lanes, lane);
  held.stage = 'over';
  lanes[stage].delete(held);
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
  return true;
}

function leaveWaiting(lanes: Lanes, { delivery }: Held): void {
  lanes.waiting--;
  lanes.waitingBytes -= delivery.body.length;
}

/** Takes out what waits and is among `which`. */
export function giveBack(lanes: Lanes, which: (held: Held) => boolean): Delivery[] {
  const out: Held[] = [];
  for (const lane of lanes.byId.values()) {
    if (lane.waiting.length === 0) continue;
    const leaving = new Set(lane.waiting.filter(which));
    uncount(lanes, lane);
    lane.waiting = lane.waiting.filter((held) => !leaving.has(held));
    count(lanes, lane);
    out.push(...leaving);
  }
  return goneFrom(lanes, out);
}

/** Takes out what waits in a slow lane beyond what it may start: it was claimed while the lane was fast. */
export function giveBackExcess(lanes: Lanes, lane: Lane): Delivery[] {
  const most = openOf(lanes.limits, lane);
  if (lane.pace !== 'slow' || lane.waiting.length <= most) return [];
  uncount(lanes, lane);
  const out = lane.waiting.splice(most);
  lane.backlog = true;
  count(lanes, lane);
  return goneFrom(lanes, out);
}

function goneFrom(lanes: Lanes, out: Held[]): Delivery[] {
  for (const held of out) {
    held.stage = 'over';
    leaveWaiting(lanes, held);
  }
  return out.map(({ delivery }) => delivery);
}

/** All that is under way. */
export const underWay = (lanes: Lanes): Held[] => [...lanes.quick, ...lanes.slow];
/** All that waits or is under way. */
export const allHeld = (lanes: Lanes): Held[] => [
  ...Array.from(lanes.byId.values(), ({ waiting }) => waiting).flat(),
  ...underWay(lanes),
];

/** Notes that the leases of `kept` end at `leasedUntil`. */
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
