import { type Room, SHARED } from './claims.ts';
import type { Lane, Lanes, Limits, Pace } from './lane.ts';

/** Bytes of bodies that may wait in a process, and the same over HTTP, where Neon returns at most 10 MB. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
export const MAX_WAITING_BYTES_HTTP = 4 * 1024 * 1024;

/** Derives limits from `concurrency`: a lane may use a quarter of it, slow deliveries twice as much in addition. */
export const processLimits = ({ concurrency }: { concurrency: number }) => ({
  overflowConcurrency: 2 * concurrency,
  totalConcurrency: 3 * concurrency,
  laneConcurrency: Math.ceil(concurrency / 4),
  maxWaitingBytes: MAX_WAITING_BYTES,
});

/** Milliseconds of work to hold in advance. */
const HORIZON_MS = 1000;

/** How many deliveries of new lanes may be under way: half of the slots. Known lanes have the rest. */
const probeLimit = ({ concurrency }: Limits) => Math.ceil(concurrency / 2);

/** How many deliveries of slow lanes may start: half of the overflow. The rest is for deliveries that turn slow. */
const slowRoomOf = ({ overflowConcurrency }: Limits) => Math.max(1, Math.ceil(overflowConcurrency / 2));

export const activeOf = (lane: Lane) => lane.quick + lane.slow;
export const heldOf = (lane: Lane) => lane.waiting.length + activeOf(lane);

/** Returns how many deliveries of a lane may be held: for a fast lane, those that it can start within the horizon. */
export function holdLimit(limits: Limits, { pace, window, averageMs }: Lane): number {
  if (pace === 'slow') return limits.laneConcurrency;
  if (pace === 'new') return window;
  return Math.min(limits.batch, Math.max(window, Math.floor((window * HORIZON_MS) / averageMs)));
}

/** Returns how many more deliveries a lane may start, regardless of other lanes. */
export function startRoom(limits: Limits, lane: Lane): number {
  const most = limits.laneConcurrency - activeOf(lane);
  return Math.max(0, lane.pace === 'slow' ? most : Math.min(most, lane.window - lane.quick));
}

/** Whether the process has room for one more delivery of a lane of this pace. */
export function hasRoom({ limits, quick, slow, probing, startable }: Lanes, pace: Pace): boolean {
  const { concurrency, overflowConcurrency, totalConcurrency } = limits;
  if (quick.length + slow.length >= totalConcurrency) return false;
  if (pace === 'slow') return slow.length + probing < slowRoomOf(limits);
  if (quick.length >= concurrency) return false;
  // New lanes may keep coming: if a slow lane waits and no slow delivery is under way, it gets the next place.
  if (pace === 'new' && slow.length === 0 && startable.slow > 0 && probing + 1 >= slowRoomOf(limits)) return false;
  // A delivery of a new lane may turn slow: it needs a place in the overflow.
  return pace === 'fast' || (probing < probeLimit(limits) && slow.length + probing < Math.max(1, overflowConcurrency));
}

/** Returns how many more rows may be claimed, by pace. For fast lanes, none until half of what was held has started. */
function freeRoom({ limits, quick, slow, probing, startable, averageMs, waitingBytes }: Lanes): Record<Pace, number> {
  const { concurrency, overflowConcurrency, totalConcurrency, batch } = limits;
  const ahead = Math.min(batch, Math.max(concurrency, Math.floor((concurrency * HORIZON_MS) / Math.max(1, averageMs))));
  const probed = probing + startable.new;
  const left = totalConcurrency - quick.length - slow.length;
  // One slow delivery is held for the next place.
  const leastSlow = slow.length + startable.slow === 0 ? 1 : 0;
  return {
    fast: startable.fast <= ahead / 2 && waitingBytes <= limits.maxWaitingBytes / 2 ? ahead - startable.fast : 0,
    new: Math.max(
      0,
      Math.min(probeLimit(limits) - probed, Math.max(1, overflowConcurrency) - slow.length - probed, left),
    ),
    slow: Math.max(leastSlow, slowRoomOf(limits) - slow.length - probing - startable.slow),
  };
}

/** Whether to claim: because something may be due (`mayBeDue`), or because lanes have run low. */
export function wantsClaim(lanes: Lanes, mayBeDue: boolean): boolean {
  if (lanes.waitingBytes >= lanes.limits.maxWaitingBytes) return false;
  const free = freeRoom(lanes);
  if (mayBeDue) return free.fast + free.new + free.slow > 0;
  const { runningLow, moreUnnamed } = lanes;
  return (
    (free.fast > 0 && runningLow.fast > 0) ||
    (free.slow > 0 && runningLow.slow > 0) ||
    // A lane that was forgotten meanwhile is new again.
    (free.new > 0 && (moreUnnamed || runningLow.new > 0))
  );
}

/** Returns what a claim may take now. */
export function roomForClaim(lanes: Lanes): Room {
  const { limits, byId, waitingBytes } = lanes;
  const free = freeRoom(lanes);
  const rooms: Record<string, number> = {};
  for (const lane of byId.values()) {
    const room = Math.max(0, holdLimit(limits, lane) - heldOf(lane));
    if (lane.pace === 'slow' && room > 0) rooms[lane.id] = SHARED;
    else rooms[lane.id] = lane.pace === 'fast' && free.fast === 0 ? 0 : room;
  }
  const limit = Math.min(limits.batch, free.fast + free.new + free.slow);
  return { limit, maxBytes: limits.maxWaitingBytes - waitingBytes, rooms, slow: free.slow, unnamed: free.new };
}
