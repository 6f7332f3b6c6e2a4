type Lane = { held: number; active: number; averageMs: number | undefined };

/** How many idle endpoints to remember the speed of. */
const REMEMBERED = 200;
/** The share of the newest delivery in an average. */
const WEIGHT = 0.2;

/**
 * Keeps endpoints from slowing each other down: how many deliveries of one may be under way, and how many may be
 * held, which is what it can start within half a lease at the speed it has shown. Email (null) has no limit of its own.
 */
export function createLanes({ concurrency, batch, leaseMs }: { concurrency: number; batch: number; leaseMs: number }) {
  const cap = Math.max(1, Math.ceil(concurrency / 4));
  const lanes = new Map<string, Lane>();
  let averageMs: number | undefined;

  function laneOf(endpointId: string): Lane {
    let lane = lanes.get(endpointId);
    if (!lane) {
      if (lanes.size >= REMEMBERED) forgetIdle();
      lane = { held: 0, active: 0, averageMs: undefined };
      lanes.set(endpointId, lane);
    }
    return lane;
  }

  function forgetIdle(): void {
    for (const [id, { held }] of lanes) if (held === 0) lanes.delete(id);
  }

  const withinHalfALease = (slots: number, ms: number) => Math.floor((slots * leaseMs) / 2 / Math.max(ms, 1));

  function free({ held, averageMs }: Lane): number {
    const most = averageMs === undefined ? cap : Math.max(cap, withinHalfALease(cap, averageMs));
    return Math.min(batch, most) - held;
  }

  return {
    /** How many deliveries of one endpoint may be under way. */
    cap,
    /** How many may be held in all. */
    startable: () =>
      averageMs === undefined ? batch : Math.max(concurrency, withinHalfALease(concurrency, averageMs)),
    /** How many more of each known endpoint may be claimed. */
    free: (): Map<string, number> => new Map(Array.from(lanes, ([id, lane]) => [id, free(lane)])),
    anyFull: () => [...lanes.values()].some((lane) => free(lane) <= 0),
    hold(endpointId: string | null): void {
      if (endpointId !== null) laneOf(endpointId).held++;
    },
    drop(endpointId: string | null): void {
      if (endpointId !== null) laneOf(endpointId).held--;
    },
    startIfFree(endpointId: string | null): boolean {
      if (endpointId === null) return true;
      const lane = laneOf(endpointId);
      if (lane.active >= cap) return false;
      lane.active++;
      return true;
    },
    /** Returns whether the lane was full, so that more of it may now be due. */
    finish(endpointId: string | null, ms: number): boolean {
      averageMs = average(averageMs, ms);
      if (endpointId === null) return false;
      const lane = laneOf(endpointId);
      const wasFull = free(lane) <= 0;
      lane.active--;
      lane.held--;
      lane.averageMs = average(lane.averageMs, ms);
      return wasFull;
    },
  };
}

function average(before: number | undefined, ms: number): number {
  return before === undefined ? ms : before + (ms - before) * WEIGHT;
}
