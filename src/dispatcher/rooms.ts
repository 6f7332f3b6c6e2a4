import type { Lane, Lanes, Pace } from './lanes.ts';

/** What a dispatcher may hold and have under way. */
export type Limits = {
  /** Deliveries under way that may yet be quick. */
  concurrency: number;
  /** Slow deliveries beside them, and both together. */
  overflowConcurrency: number;
  totalConcurrency: number;
  /** Deliveries of one lane under way. */
  laneConcurrency: number;
  /** Rows that one claim takes at most. */
  batch: number;
  /** Bytes of bodies that wait for their start at most, give or take a row. */
  maxWaitingBytes: number;
  /** Milliseconds that a delivery may take. */
  deliveryTimeoutMs: number;
};

/** Bytes of bodies that wait in a process at most. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** What follows from a process's `concurrency`: a lane has a quarter of it, and slow deliveries twice as much beside. */
export const processLimits = ({ concurrency }: { concurrency: number }) => ({
  overflowConcurrency: 2 * concurrency,
  totalConcurrency: 3 * concurrency,
  laneConcurrency: Math.ceil(concurrency / 4),
  maxWaitingBytes: MAX_WAITING_BYTES,
});

/**
 * What a claim may take: `limit` rows in all, as many of each lane as `rooms` says, one row each of `slow` lanes that
 * have SHARED there, and one each of `strangers` lanes that it does not name.
 */
export type Room = {
  limit: number;
  maxBytes: number;
  rooms: Record<string, number>;
  slow: number;
  strangers: number;
};

/** In place of a lane's room: one row, if the claim's `slow` is not used up. */
export const SHARED = -1;

/** Milliseconds of work that is held ahead of its start. */
const HORIZON_MS = 1000;

/** How many deliveries of lanes that are new may be under way: half of the slots, so that the others have the rest. */
const triesOf = ({ concurrency }: Limits) => Math.ceil(concurrency / 2);

/** How many deliveries of slow lanes may start: half of the overflow, so that the rest takes what turns slow. */
const slowRoomOf = ({ overflowConcurrency }: Limits) => Math.max(1, Math.ceil(overflowConcurrency / 2));

export const activeOf = (lane: Lane) => lane.quick + lane.slow;
export const heldOf = (lane: Lane) => lane.waiting.length + activeOf(lane);

/** How many deliveries of a lane may be held: a fast one's are what it starts within the horizon at its speed. */
export function holdOf(limits: Limits, { pace, window, averageMs }: Lane): number {
  if (pace === 'slow') return limits.laneConcurrency;
  if (pace === 'new') return window;
  return Math.min(limits.batch, Math.max(window, Math.floor((window * HORIZON_MS) / averageMs)));
}

/** How many more of its own a lane may start, whatever the others do. */
export function openOf(limits: Limits, lane: Lane): number {
  const most = limits.laneConcurrency - activeOf(lane);
  return Math.max(0, lane.pace === 'slow' ? most : Math.min(most, lane.window - lane.quick));
}

/** Whether the process has room for one more delivery of a lane of this pace. */
export function hasRoom({ limits, quick, slow, trying }: Lanes, pace: Pace): boolean {
  const { concurrency, overflowConcurrency, totalConcurrency } = limits;
  if (quick.size + slow.size >= totalConcurrency) return false;
  if (pace === 'slow') return slow.size + trying < slowRoomOf(limits);
  if (quick.size >= concurrency) return false;
  // What a new lane tries has its place in the overflow, should it turn slow.
  return pace === 'fast' || (trying < triesOf(limits) && slow.size + trying < Math.max(1, overflowConcurrency));
}

/** How many more rows may be claimed, by the pace of their lanes. Fast ones are fetched again when half are left. */
function freeRoom({ limits, quick, slow, trying, startable, averageMs, waitingBytes }: Lanes): Record<Pace, number> {
  const { concurrency, overflowConcurrency, totalConcurrency, batch } = limits;
  const ahead = Math.min(batch, Math.max(concurrency, Math.floor((concurrency * HORIZON_MS) / Math.max(1, averageMs))));
  const tried = trying + startable.new;
  const left = totalConcurrency - quick.size - slow.size;
  return {
    fast: startable.fast <= ahead / 2 && waitingBytes <= limits.maxWaitingBytes / 2 ? ahead - startable.fast : 0,
    new: Math.max(0, Math.min(triesOf(limits) - tried, Math.max(1, overflowConcurrency) - slow.size - tried, left)),
    slow: Math.max(0, slowRoomOf(limits) - slow.size - trying - startable.slow),
  };
}

/** Whether a claim is worth its round trip: because a look at the queue is due, or for lanes that have run low. */
export function wantsClaim(lanes: Lanes, lookDue: boolean): boolean {
  if (lanes.waitingBytes >= lanes.limits.maxWaitingBytes) return false;
  const free = freeRoom(lanes);
  if (lookDue) return free.fast + free.new + free.slow > 0;
  const { hungry, moreStrangers } = lanes;
  return (free.fast > 0 && hungry.fast > 0) || (free.slow > 0 && hungry.slow > 0) || (free.new > 0 && moreStrangers);
}

/** What a claim may take now. */
export function roomForClaim(lanes: Lanes): Room {
  const { limits, byId, waitingBytes } = lanes;
  const free = freeRoom(lanes);
  const rooms: Record<string, number> = {};
  for (const lane of byId.values()) {
    const room = Math.max(0, holdOf(limits, lane) - heldOf(lane));
    if (lane.pace === 'slow' && room > 0) rooms[lane.id] = SHARED;
    else rooms[lane.id] = lane.pace === 'fast' && free.fast === 0 ? 0 : room;
  }
  const limit = Math.min(limits.batch, free.fast + free.new + free.slow);
  return { limit, maxBytes: limits.maxWaitingBytes - waitingBytes, rooms, slow: free.slow, strangers: free.new };
}
