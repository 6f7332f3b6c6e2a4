import type { Log, Metrics } from '../deps.ts';
import type { Tracing } from '../tracing.ts';
import type { Channel } from './channels/channel.ts';
import type { Delivery } from './claims.ts';
import type { Clock } from './clock.ts';
import type { Held, Lanes, Limits } from './lane.ts';
import { removeWaiting } from './lanes.ts';
import { releaseOf } from './outcome.ts';
import type { State } from './plan.ts';
import type { Queue } from './queue.ts';
import type { Settlement } from './settlements.ts';

/** The dispatcher's part of the configuration; times in milliseconds. */
export type DispatchSettings = Limits & {
  /** How often to claim without a ring. */
  intervalMs: number;
  leaseMs: number;
  maxAttempts: number;
};

export type DispatchDeps = {
  queue: Queue;
  channels: Record<Delivery['channel'], Channel>;
  clock: Clock;
  log: Log;
  metrics: Pick<Metrics, 'delivery' | 'dispatcherTick'>;
  /** Records spans, if traces are exported. */
  tracing?: Pick<Tracing, 'attempt'> | undefined;
  /** From 0 to 1. */
  random: () => number;
  settings: DispatchSettings;
};

/** The state of a dispatcher, passed from function to function. */
export type Run = DispatchDeps & {
  state: State;
  lanes: Lanes;
  /** The lane after which the next claim starts, and the one at which its round ends. */
  after: string;
  until: string;
  /** Endpoints that changed during a claim: what the claim returns for them is out of date. */
  changed: Set<string>;
  failures: { claim: number; settle: number; advance: number };
  defect: { error: unknown } | undefined;
  ended: PromiseWithResolvers<void>;
  alarmAt: number;
  cancelAlarm: () => void;
  /** Whether a step follows in this turn. */
  stepsSoon: boolean;
};

/** Releases deliveries that were claimed and not started. They are due again after the next settlement. */
export function release(run: Run, deliveries: Delivery[]): void {
  for (const delivery of deliveries) addResult(run, releaseOf(delivery));
}

/** Releases waiting deliveries: those that `which` selects, by default all. */
export function releaseWaiting(run: Run, which: (held: Held) => boolean = () => true): void {
  release(run, removeWaiting(run.lanes, which));
}

/** Releases deliveries that wait for an endpoint that has changed, and those that a claim under way returns for it. */
export function releaseLane(run: Run, id: string): void {
  if (run.state.claiming) run.changed.add(id);
  releaseWaiting(run, ({ lane }) => lane.id === id);
}

/** Adds a result to those that wait for the next settlement. */
export function addResult({ state, clock }: Run, settlement: Settlement): void {
  if (state.results.length === 0) state.resultsSince = clock.now();
  settlement.endedAt = Math.round(clock.now());
  state.results.push(settlement);
}
