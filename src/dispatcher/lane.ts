// What a dispatcher holds. rooms.ts tells how much that may be; lanes.ts changes it.
import type { AttemptSpan } from '../tracing.ts';
import type { Delivery } from './claims.ts';

/** Limits on what a dispatcher holds and delivers. */
export type Limits = {
  /** Slots: deliveries under way that are not slow (yet). */
  concurrency: number;
  /** Slow deliveries in addition, and the sum of both. */
  overflowConcurrency: number;
  totalConcurrency: number;
  /** Deliveries under way in one lane. */
  laneConcurrency: number;
  /** Rows that one claim may take. */
  batch: number;
  /** Bytes of bodies that may wait to be sent; the last row may exceed it. */
  maxWaitingBytes: number;
  /** Milliseconds that a delivery may take. */
  deliveryTimeoutMs: number;
};

/** A delivery that this dispatcher holds. Times are in milliseconds of the clock. */
export type Held = {
  readonly delivery: Delivery;
  readonly lane: Lane;
  leasedUntil: number;
  startedAt: number;
  stage: 'waiting' | 'quick' | 'slow' | 'over';
  /** Its place in `quick` or `slow` of `Lanes`. */
  place: number;
  /** The span of the attempt under way, if traces are recorded. */
  span?: AttemptSpan | undefined;
};

/** The pace of a lane: `new` until its first delivery has ended or turned slow, then that of its latest delivery. */
export type Pace = 'new' | 'fast' | 'slow';

/** An endpoint's deliveries, or email's. */
export type Lane = {
  readonly id: string;
  pace: Pace;
  /** How many quick deliveries may be under way: 1, then the limit. After a slow one: 1, plus 2 per quick one. */
  window: number;
  waiting: Held[];
  quick: number;
  slow: number;
  averageMs: number;
  /** Whether the queue is known to have more due. */
  backlog: boolean;
  /** How many waiting deliveries could start if the process had room, and whether the lane has run low on them. */
  startable: number;
  runningLow: boolean;
};

/** All deliveries that a dispatcher holds. `startable`, `runningLow`: sums by pace; `ready`: lanes. See `count` in lanes.ts. */
export type Lanes = {
  readonly limits: Limits;
  readonly byId: Map<string, Lane>;
  /** Those under way, in no order. A set that changes all the time can keep what was deleted from it alive. */
  readonly quick: Held[];
  readonly slow: Held[];
  readonly ready: Record<Pace, Set<Lane>>;
  readonly startable: Record<Pace, number>;
  readonly runningLow: Record<Pace, number>;
  waiting: number;
  waitingBytes: number;
  /** Deliveries under way in new lanes. */
  probing: number;
  averageMs: number;
  /** Whether lanes that are not in `byId` have something due. */
  moreUnnamed: boolean;
  /** Whether a waiting delivery cannot start until its lease is extended. */
  leasesTooShort: boolean;
  /** When to call `check` in lanes.ts next. */
  checkAt: number;
};
