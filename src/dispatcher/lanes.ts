import type { Delivery } from './claims.ts';

type Lane = { waiting: Delivery[]; held: number; active: number; averageMs: number | undefined };

/** How many idle endpoints to remember the speed of. */
const REMEMBERED = 200;
/** The share of the newest delivery in an average. */
const WEIGHT = 0.2;

/**
 * What is held, by endpoint, so that none slows the others down: how many deliveries of one may be under way, and how
 * many may be held, which is what it can start within half a lease at the speed it has shown. Email is one lane, and
 * may take every slot.
 */
export function createLanes({ concurrency, batch, leaseMs }: { concurrency: number; batch: number; leaseMs: number }) {
  const cap = Math.max(1, Math.ceil(concurrency / 4));
  const lanes = new Map<string | null, Lane>();
  let waiting = 0;
  let averageMs: number | undefined;

  function laneOf(endpointId: string | null): Lane {
    let lane = lanes.get(endpointId);
    if (!lane) {
      if (lanes.size >= REMEMBERED) forgetIdle();
      lane = { waiting: [], held: 0, active: 0, averageMs: undefined };
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
    /** How many are held and not yet started. */
    waiting: () => waiting,
    /** How many may be held in all. */
    startable: () =>
      averageMs === undefined ? batch : Math.max(concurrency, withinHalfALease(concurrency, averageMs)),
    /** How many more of each known endpoint may be claimed. */
    free(): Map<string, number> {
      const known = new Map<string, number>();
      for (const [id, lane] of lanes) if (id !== null) known.set(id, free(lane));
      return known;
    },
    add(delivery: Delivery): void {
      const lane = laneOf(delivery.endpointId);
      lane.waiting.push(delivery);
      lane.held++;
      waiting++;
    },
    /** The next delivery to start, of a lane that has room; lanes take turns. */
    next(): Delivery | undefined {
      if (waiting === 0) return undefined;
      for (const [id, lane] of lanes) {
        if (lane.active >= (id === null ? concurrency : cap)) continue;
        const delivery = lane.waiting.shift();
        if (!delivery) continue;
        lane.active++;
        waiting--;
        // To the end of the line.
        lanes.delete(id);
        lanes.set(id, lane);
        return delivery;
      }
      return undefined;
    },
    /** Returns whether the lane was full, so that more of it may now be due. */
    finish({ endpointId }: Delivery, ms: number): boolean {
      averageMs = average(averageMs, ms);
      const lane = laneOf(endpointId);
      const wasFull = free(lane) <= 0;
      lane.active--;
      lane.held--;
      lane.averageMs = average(lane.averageMs, ms);
      return wasFull;
    },
    /** Takes out what waits and is among `which`, or all of it. */
    remove(which?: (delivery: Delivery) => boolean): Delivery[] {
      const removed: Delivery[] = [];
      for (const lane of lanes.values()) {
        const [out, stay] = partition(lane.waiting, which ?? (() => true));
        lane.waiting = stay;
        lane.held -= out.length;
        removed.push(...out);
      }
      waiting -= removed.length;
      return removed;
    },
    /** All that waits. */
    all: (): Delivery[] => [...lanes.values()].flatMap((lane) => lane.waiting),
  };
}

function partition<T>(list: T[], test: (each: T) => boolean): [T[], T[]] {
  return [list.filter(test), list.filter((each) => !test(each))];
}

function average(before: number | undefined, ms: number): number {
  return before === undefined ? ms : before + (ms - before) * WEIGHT;
}
