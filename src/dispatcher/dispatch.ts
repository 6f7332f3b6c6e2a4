import type { Attempt } from './channels/channel.ts';
import type { Delivery } from './claims.ts';
import { claim, extend, settle } from './exchange.ts';
import {
  check,
  createLanes,
  FIRST_LANE,
  finish,
  GRACE_MS,
  giveBackExcess,
  type Held,
  startNext,
  underWay,
} from './lanes.ts';
import { interruptionOf, settlementOf } from './outcome.ts';
import { isLookDue, mayStart, plan, type State } from './plan.ts';
import { wantsClaim } from './rooms.ts';
import { addResult, type DispatchDeps, type Run, release, releaseWaiting } from './run.ts';
import type { Settlement } from './settlements.ts';

export type Dispatcher = {
  /**
   * Rings: something may be due. Many rings are one. With the id of an endpoint that was changed or deleted, what is
   * claimed for it and not started is given back, to be claimed as it now is.
   */
  wake(changedEndpointId?: string): void;
  /** Delivers until `stop`. Rejects only for a defect: a database that is away is waited for. */
  run(): Promise<void>;
  /**
   * Delivers until nothing is due, or until `budget` subrequests are used up, the settling of what was started
   * included. `nextMs` is how soon more will be due: 0 where more may be due already, null where none is known.
   */
  drain(budget?: number): Promise<{ nextMs: number | null; failed: boolean }>;
  /** Ends `run` once what is under way is settled, the rest given back; `force` interrupts what is under way. */
  stop(force: AbortSignal): void;
  /** Milliseconds since the queue last answered a claim. */
  lastClaimAgeMs(): number;
};

const NEVER = Number.POSITIVE_INFINITY;
/** How long a dispatcher may go without a claim before it says so, in milliseconds. */
const STALL_MS = 30_000;

/** Claims, delivers, settles: `plan` decides, `step` acts on it whenever something has changed. */
export function createDispatcher(deps: DispatchDeps): Dispatcher {
  const run: Run = {
    ...deps,
    state: {
      mode: 'idle',
      rung: true,
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
      stalled: false,
      budget: NEVER,
    },
    lanes: createLanes(deps.settings),
    after: FIRST_LANE,
    changed: new Set(),
    failures: { claim: 0, settle: 0 },
    defect: undefined,
    ended: Promise.withResolvers(),
    alarmAt: NEVER,
    cancelAlarm: () => {},
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
  // What an earlier run came to is none of this one's business; only what lanes have shown is kept.
  Object.assign(run, { ended: Promise.withResolvers(), defect: undefined, failures: { claim: 0, settle: 0 } });
  const times = { tickAt: NEVER, dueAt: NEVER, claimAt: 0, settleAt: 0, lastClaimAt: run.clock.now() };
  Object.assign(run.state, { mode, rung: true, ...times });
  step(run);
  return run.ended.promise;
}

async function drain(run: Run, budget: number): Promise<{ nextMs: number | null; failed: boolean }> {
  const { state, lanes, clock } = run;
  state.budget = budget;
  await begin(run, 'draining');
  const now = clock.now();
  const failed = run.failures.claim + run.failures.settle > 0;
  if (isLookDue(state, now) || wantsClaim(lanes, false)) return { nextMs: 0, failed };
  return { nextMs: state.dueAt === NEVER ? null : Math.ceil(state.dueAt - now), failed };
}

function wake(run: Run, changed?: string): void {
  if (changed !== undefined) {
    if (run.state.claiming) run.changed.add(changed);
    releaseWaiting(run, ({ lane }) => lane.id === changed);
  }
  run.state.rung = true;
  step(run);
}

function stop(run: Run, force: AbortSignal): void {
  const { state, lanes, clock, settings } = run;
  if (state.mode === 'running' || state.mode === 'draining') state.mode = 'stopping';
  releaseWaiting(run);
  const interrupt = () => {
    for (const held of underWay(lanes)) {
      const durationMs = Math.round(clock.now() - held.startedAt);
      const delayMs = settings.deliveryTimeoutMs + GRACE_MS - durationMs;
      end(run, held, interruptionOf(held.delivery, durationMs, delayMs));
    }
  };
  if (force.aborted) interrupt();
  else force.addEventListener('abort', interrupt, { once: true });
  step(run);
}

/** Called whenever something has changed, or the alarm rings: does what there is to do now. */
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
    if (next.stalled && !state.stalled) reportStall(run, now);
    if (next.over) close(run);
    else setAlarm(run, next.wakeAt);
  } catch (error) {
    failFor(run, error);
  }
}

/** What the queue says changes what there is to do. */
function follow(run: Run, exchange: Promise<void>): void {
  exchange.then(
    () => step(run),
    (error) => failFor(run, error),
  );
}

function setAlarm(run: Run, at: number): void {
  // One that rings too early asks again.
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

/** A defect ends it as a stop does, with what is under way awaited and settled; a second one at once. */
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
    // The channel has a time limit of its own, which says what the matter was: this is for one that has a defect.
    log.error('delivery timed out: channel did not settle', { notificationId: held.delivery.id });
    conclude(run, held, { ok: false, status: null, error: 'timed out' });
  }
  for (const { lane } of underWay(lanes)) release(run, giveBackExcess(lanes, lane));
}

function startWaiting(run: Run, now: number): void {
  const { state, lanes } = run;
  while (mayStart(state)) {
    const held = startNext(lanes, now);
    if (!held) return;
    state.budget--;
    void attempt(run, held.delivery).then((result) => conclude(run, held, result));
  }
  // Nothing more can start: what waits is for another run.
  if (lanes.waiting > 0) releaseWaiting(run);
}

async function attempt({ channels, log, settings }: Run, delivery: Delivery): Promise<Attempt> {
  if (delivery.attempt > settings.maxAttempts) {
    return { ok: false, status: null, error: 'the last attempts never finished', final: true, blameless: true };
  }
  try {
    return await channels[delivery.channel](delivery);
  } catch (error) {
    log.error('delivery failed unexpectedly', { notificationId: delivery.id, error });
    return { ok: false, status: null, error: 'internal error', blameless: true };
  }
}

/** Settles a delivery that ended by itself. */
function conclude(run: Run, held: Held, result: Attempt): void {
  try {
    const durationMs = Math.round(run.clock.now() - held.startedAt);
    const { maxAttempts } = run.settings;
    end(run, held, settlementOf(held.delivery, result, { durationMs, maxAttempts, random: run.random() }));
  } catch (error) {
    // Without an outcome its lease runs out.
    finish(run.lanes, held, run.clock.now());
    failFor(run, error);
  }
}

function end(run: Run, held: Held, settlement: Settlement): void {
  // What was interrupted or timed out may still end some day.
  if (!finish(run.lanes, held, run.clock.now())) return;
  report(run, held.delivery, settlement);
  if (held.lane.pace === 'slow') release(run, giveBackExcess(run.lanes, held.lane));
  addResult(run, settlement);
  step(run);
}

function report({ log, metrics }: Run, { id, type, channel, attempt }: Delivery, settlement: Settlement): void {
  const { outcome, durationMs = 0, status, error, delayMs } = settlement;
  metrics.delivery(channel, outcome, durationMs / 1000);
  const fields = { notificationId: id, type, channel, attempt, durationMs, status };
  if (outcome === 'sent') log.info('notification sent', fields);
  else log.warn(`notification ${outcome}`, { ...fields, reason: error, retryInMs: Math.round(delayMs ?? 0) });
}

function reportStall({ state, lanes, log }: Run, now: number): void {
  state.stalled = true;
  const seconds = Math.round((now - state.lastClaimAt) / 1000);
  const { waiting, quick, slow } = lanes;
  log.error('dispatcher has not claimed for a while', { seconds, waiting, underWay: quick.size + slow.size });
}
