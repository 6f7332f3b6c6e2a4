import type { Attempt } from './channels/channel.ts';
import { advance, claim, extend, settle } from './exchange.ts';
import type { Held } from './lane.ts';
import { check, createLanes, FIRST_LANE, finish, GRACE_MS, inFlight, removeExcess, startNext } from './lanes.ts';
import { interruptionOf, settlementOf } from './outcome.ts';
import { mayBeDue, mayStart, NEVER, plan, type State } from './plan.ts';
import { wantsClaim } from './rooms.ts';
import { addResult, type DispatchDeps, type Run, release, releaseLane, releaseWaiting } from './run.ts';
import type { Settlement } from './settlements.ts';

/**
 * How a run ended. `nextMs` is the time until more is due: 0 if more may be due already, null if no due time is known.
 */
export type Drained = { nextMs: number | null; failed: boolean };

export type Dispatcher = {
  /**
   * Rings the dispatcher: something may be due. Rings coalesce. With the id of an endpoint that was changed or deleted,
   * its deliveries that have not started are released, to be claimed again with the endpoint's new state.
   */
  wake(changedEndpointId?: string): void;
  /** Delivers until `stop`. Rejects only for a defect; it waits for a database that is unavailable. */
  run(): Promise<void>;
  /** Delivers until nothing is due, or until `budget` subrequests are used, including those for settling. */
  drain(budget?: number): Promise<Drained>;
  /** Ends `run` once deliveries under way are settled and the others released. `force` interrupts those under way. */
  stop(force: AbortSignal): void;
  /** Milliseconds since the queue last answered a claim. */
  lastClaimAgeMs(): number;
};

/** Milliseconds without a claim after which a dispatcher reports that it is stalled. */
const STALL_MS = 30_000;
/**
 * Attempts that may end with their process, in addition to those allowed. A claim counts an attempt for each delivery
 * taken, but one that was only waiting when its process was killed was never attempted.
 */
const UNFINISHED_MAX = 10;

/** Creates a dispatcher, which claims, delivers and settles: `plan` decides, `step` acts after every change. */
export function createDispatcher(deps: DispatchDeps): Dispatcher {
  const run: Run = {
    ...deps,
    state: {
      mode: 'idle',
      rung: true,
      unvisited: false,
      tickAt: NEVER,
      dueAt: NEVER,
      claimAt: 0,
      claiming: false,
      lastClaimAt: deps.clock.now(),
      writing: false,
      results: [],
      resultsSince: 0,
      settleAt: 0,
      extendAt: NEVER,
      extended: false,
      stalled: false,
      jobs: false,
      advancing: false,
      advanceAt: 0,
      batches: NEVER,
      budget: NEVER,
    },
    lanes: createLanes(deps.settings),
    after: FIRST_LANE,
    until: FIRST_LANE,
    changed: new Set(),
    failures: { claim: 0, settle: 0, advance: 0 },
    defect: undefined,
    ended: Promise.withResolvers(),
    alarmAt: NEVER,
    cancelAlarm: () => {},
    stepsSoon: false,
  };
  return {
    wake: (changed) => wake(run, changed),
    run: () => begin(run, 'running'),
    drain: (budget = NEVER) => drain(run, budget),
    stop: (force) => stop(run, force),
    lastClaimAgeMs: () => run.clock.now() - run.state.lastClaimAt,
  };
}

function begin(run: Run, mode: State['mode']): Promise<void> {
  // A run starts fresh; only what was learned about lanes is kept.
  Object.assign(run, { ended: Promise.withResolvers(), defect: undefined });
  run.failures = { claim: 0, settle: 0, advance: 0 };
  const times = { tickAt: NEVER, dueAt: NEVER, claimAt: 0, settleAt: 0, advanceAt: 0, lastClaimAt: run.clock.now() };
  Object.assign(run.state, { mode, rung: true, ...times });
  step(run);
  return run.ended.promise;
}

async function drain(run: Run, budget: number): Promise<Drained> {
  const { state, lanes, clock } = run;
  state.budget = budget;
  // Half is for deliveries, however much bulk actions have to do.
  state.batches = budget / 2;
  await begin(run, 'draining');
  const now = clock.now();
  const failed = run.failures.claim + run.failures.settle + run.failures.advance > 0;
  if (mayBeDue(state, now) || wantsClaim(lanes, false) || state.jobs) return { nextMs: 0, failed };
  return { nextMs: state.dueAt === NEVER ? null : Math.ceil(state.dueAt - now), failed };
}

function wake(run: Run, changed?: string): void {
  if (changed !== undefined) releaseLane(run, changed);
  run.state.rung = true;
  step(run);
}

function stop(run: Run, force: AbortSignal): void {
  const { state, lanes, clock, settings } = run;
  if (state.mode === 'running' || state.mode === 'draining') state.mode = 'stopping';
  releaseWaiting(run);
  const interrupt = () => {
    for (const held of inFlight(lanes)) {
      const durationMs = Math.round(clock.now() - held.startedAt);
      const delayMs = settings.deliveryTimeoutMs + GRACE_MS - durationMs;
      end(run, held, interruptionOf(held.delivery, durationMs, delayMs));
    }
  };
  if (force.aborted) interrupt();
  else force.addEventListener('abort', interrupt, { once: true });
  step(run);
}

/** Does what `plan` says. Called after every change, and when the timer fires. */
function step(run: Run): void {
  const { state, lanes, clock, settings } = run;
  if (state.mode === 'idle') return;
  try {
    const now = clock.now();
    if (now >= lanes.checkAt) checkAges(run, now);
    startWaiting(run, now);
    if (lanes.leasesTooShort) state.extendAt = Math.min(state.extendAt, now);
    const next = plan(state, lanes, Math.max(STALL_MS, 2 * settings.intervalMs), now);
    if (next.claim) follow(run, claim(run, next.claim));
    if (next.extend) follow(run, extend(run));
    if (next.settle) follow(run, settle(run));
    if (next.advance) follow(run, advance(run));
    if (next.stalled && !state.stalled) reportStall(run, now);
    if (next.over) close(run);
    else setAlarm(run, next.wakeAt);
  } catch (error) {
    failFor(run, error);
  }
}

/** Steps once for all deliveries that end in one turn of the event loop. */
function stepSoon(run: Run): void {
  if (run.stepsSoon) return;
  run.stepsSoon = true;
  queueMicrotask(() => {
    run.stepsSoon = false;
    step(run);
  });
}

/** Steps again when a call to the queue has settled. */
function follow(run: Run, exchange: Promise<void>): void {
  exchange.then(
    () => step(run),
    (error) => failFor(run, error),
  );
}

function setAlarm(run: Run, at: number): void {
  // A timer that fires too early is set again.
  if (run.alarmAt <= at) return;
  run.cancelAlarm();
  run.alarmAt = at;
  run.cancelAlarm = run.clock.after(Math.max(1, Math.ceil(at - run.clock.now())), () => {
    run.alarmAt = NEVER;
    step(run);
  });
}

function close(run: Run): void {
  run.state.mode = 'idle';
  run.cancelAlarm();
  run.alarmAt = NEVER;
  if (run.defect) run.ended.reject(run.defect.error);
  else run.ended.resolve();
}

/** Ends the run after a defect, as `stop` does. A second defect ends it at once. */
function failFor(run: Run, error: unknown): void {
  if (run.defect) {
    close(run);
    return;
  }
  run.defect = { error };
  run.state.mode = 'failed';
  releaseWaiting(run);
  step(run);
}

function checkAges(run: Run, now: number): void {
  const { lanes, log } = run;
  for (const held of check(lanes, now)) {
    // Channels have a time limit of their own, with a better message. This one is for a channel with a defect.
    log.error('delivery timed out: channel did not settle', { notificationId: held.delivery.id });
    conclude(run, held, { ok: false, status: null, error: 'timed out' });
  }
  for (const { lane } of inFlight(lanes)) release(run, removeExcess(lanes, lane));
}

function startWaiting(run: Run, now: number): void {
  const { state, lanes } = run;
  while (mayStart(state)) {
    const held = startNext(lanes, now);
    if (!held) return;
    state.budget--;
    held.span = run.tracing?.attempt(held.delivery);
    void attempt(run, held).then((result) => conclude(run, held, result));
  }
  // Nothing more can start in this run.
  if (lanes.waiting > 0) releaseWaiting(run);
}

async function attempt({ channels, log, settings }: Run, { delivery, span }: Held): Promise<Attempt> {
  if (delivery.attempt > settings.maxAttempts + UNFINISHED_MAX) {
    return { ok: false, status: null, error: 'too many attempts were interrupted', final: true, blameless: true };
  }
  try {
    return await channels[delivery.channel](delivery, span);
  } catch (error) {
    log.error('delivery failed unexpectedly', { notificationId: delivery.id, error });
    return { ok: false, status: null, error: 'internal error', blameless: true };
  }
}

/** Settles a delivery that ended without being interrupted. */
function conclude(run: Run, held: Held, result: Attempt): void {
  try {
    const durationMs = Math.round(run.clock.now() - held.startedAt);
    const { maxAttempts } = run.settings;
    end(run, held, settlementOf(held.delivery, result, { durationMs, maxAttempts, random: run.random() }));
  } catch (error) {
    // Not settled: its lease expires.
    finish(run.lanes, held, run.clock.now());
    failFor(run, error);
  }
}

function end(run: Run, held: Held, settlement: Settlement): void {
  // A delivery that was interrupted or timed out may end a second time, later.
  if (!finish(run.lanes, held, run.clock.now())) return;
  report(run, held, settlement);
  if (held.lane.pace === 'slow') release(run, removeExcess(run.lanes, held.lane));
  addResult(run, settlement);
  stepSoon(run);
}

function report({ log, metrics }: Run, { delivery, span }: Held, settlement: Settlement): void {
  const { id, type, channel, attempt } = delivery;
  const { outcome, durationMs = 0, status, error, delayMs } = settlement;
  metrics.delivery(channel, outcome, durationMs / 1000);
  span?.end(outcome, { status, error });
  const fields = { notificationId: id, type, channel, attempt, durationMs, status };
  if (outcome === 'sent') log.info('notification sent', fields);
  else log.warn(`notification ${outcome}`, { ...fields, reason: error, retryInMs: Math.round(delayMs ?? 0) });
}

function reportStall({ state, lanes, log }: Run, now: number): void {
  state.stalled = true;
  const seconds = Math.round((now - state.lastClaimAt) / 1000);
  const { waiting, quick, slow } = lanes;
  log.error('dispatcher stalled: no successful claim', { seconds, waiting, inFlight: quick.length + slow.length });
}
