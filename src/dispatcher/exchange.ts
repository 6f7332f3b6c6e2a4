import { type Claimed, type Delivery, keyOf, type Room } from './claims.ts';
import type { Held } from './lane.ts';
import { allHeld, EMAIL_LANE, extended, hold, noteBacklogs, removeExcess, removeWaiting } from './lanes.ts';
import { isRoundDue, mayStart, NEVER, RESERVE } from './plan.ts';
import { type Run, release, releaseLane } from './run.ts';
import type { Settlement } from './settlements.ts';

/** Milliseconds before a failed statement is retried. For claims it doubles with each failure, up to the interval. */
const RETRY_MS = 500;
const SETTLE_TRIES_AT_STOP = 3;
/** Milliseconds until the next batch after one that changed nothing: few match, or others have locked them. */
const NO_PROGRESS_DELAY_MS = 20;

/** Claims deliveries, as many as there is room for, and adds them to the lanes. Rejects only for a defect. */
export async function claim(run: Run, room: Room): Promise<void> {
  const { state, queue, clock, log, metrics, settings } = run;
  const askedAt = clock.now();
  if (!state.unvisited || isRoundDue(state, askedAt)) run.until = run.after;
  Object.assign(state, { claiming: true, rung: false, unvisited: false });
  state.tickAt = state.mode === 'running' ? askedAt + settings.intervalMs : NEVER;
  if (state.dueAt <= askedAt) state.dueAt = NEVER;
  state.budget--;
  const claimed = await queue.claim({ ...room, after: run.after, until: run.until }).catch((error) => {
    log.error('claim failed', { error });
    return undefined;
  });
  state.claiming = false;
  metrics.dispatcherTick(claimed === undefined);
  if (claimed) take(run, room, claimed, askedAt);
  else claimFailed(run);
  run.changed.clear();
}

function claimFailed({ state, clock, settings, failures }: Run): void {
  const backoffMs = Math.min(settings.intervalMs, RETRY_MS * 2 ** Math.min(failures.claim++, 10));
  state.claimAt = clock.now() + backoffMs;
  // A drain leaves the retry to its caller.
  if (state.mode === 'running') state.rung = true;
}

function take(run: Run, room: Room, claimed: Claimed, askedAt: number): void {
  const { state, lanes, clock, log, failures, settings, changed } = run;
  const { deliveries, more, moreUnnamed, unfinished, unvisited, cursor, nextMs, jobs } = claimed;
  if (state.stalled) log.info('dispatcher recovered', {});
  Object.assign(state, { stalled: false, lastClaimAt: clock.now(), claimAt: 0 });
  failures.claim = 0;
  const { after, until } = run;
  run.after = cursor;
  if (unfinished) state.rung = true;
  state.unvisited = unvisited && cursor !== until;
  state.jobs = jobs;
  if (nextMs !== null) state.dueAt = Math.min(state.dueAt, clock.now() + nextMs);
  const isCurrent = ({ endpointId }: Delivery) => mayStart(state) && !changed.has(endpointId ?? EMAIL_LANE);
  release(
    run,
    deliveries.filter((delivery) => !isCurrent(delivery)),
  );
  hold(lanes, deliveries.filter(isCurrent), askedAt + settings.leaseMs);
  const isVisited = (lane: string) => !unfinished && isOnWay(lane, after, unvisited ? cursor : until);
  // Unlisted lanes that an earlier claim of the round has seen are still there.
  const seenBefore = after !== until && lanes.moreUnnamed;
  noteBacklogs(lanes, Object.keys(room.rooms).filter(isVisited), new Set(more), moreUnnamed || seenBefore);
  // A lane that turned slow while the claim was under way has no room for what it got.
  for (const { endpointId } of deliveries) {
    const lane = lanes.byId.get(endpointId ?? EMAIL_LANE);
    if (lane) release(run, removeExcess(lanes, lane));
  }
  state.extendAt = Math.min(state.extendAt, askedAt + settings.leaseMs / 3);
}

/** Whether a walk from the lane after `after`, wrapping around, to `last` passes this lane. */
function isOnWay(lane: string, after: string, last: string): boolean {
  return after < last ? lane > after && lane <= last : lane > after || lane <= last;
}

/** Settles a batch of results, or all in one when few subrequests are left. What arrives meanwhile is for the next. */
export async function settle(run: Run): Promise<void> {
  const { state, queue, clock, log, failures, settings } = run;
  const some = state.results.splice(0, state.budget > RESERVE ? settings.batch : state.results.length);
  Object.assign(state, { writing: true, extended: false });
  state.budget--;
  try {
    const { settled, changes } = await queue.settle(some, Math.round(clock.now()));
    if (settled < some.length) log.warn('leases lost', { count: some.length - settled });
    for (const { id, status } of changes) {
      log.warn(`webhook endpoint ${status}`, { endpointId: id });
      if (status !== 'enabled') releaseLane(run, id);
    }
    // After a pause, the backlog of the endpoint is due.
    if (changes.some(({ status }) => status === 'enabled')) state.rung = true;
    failures.settle = 0;
    if (state.results.length === 0) state.settleAt = 0;
    noteDue(run, some);
  } catch (error) {
    log.error('settlement failed', { error, count: some.length });
    failures.settle++;
    state.settleAt = clock.now() + RETRY_MS;
    const isLastTry = state.budget <= 0 || (!mayStart(state) && failures.settle >= SETTLE_TRIES_AT_STOP);
    // Results dropped here are claimed again when their leases expire.
    if (isLastTry) state.results.length = 0;
    else state.results.unshift(...some);
  }
  state.writing = false;
  state.resultsSince = clock.now();
}

/** Notes when settled deliveries are due again: a retry after its delay, a released one at once. */
function noteDue({ state, clock }: Run, settled: Settlement[]): void {
  for (const { outcome, delayMs = 0 } of settled) {
    if (outcome === 'retry') state.dueAt = Math.min(state.dueAt, clock.now() + delayMs);
    else if (outcome === 'release') state.rung = true;
  }
}

/** Extends the leases of all held deliveries, and drops those whose leases were lost. */
export async function extend(run: Run): Promise<void> {
  const { state, lanes, queue, clock, log, settings } = run;
  const askedAt = clock.now();
  const held = allHeld(lanes);
  Object.assign(state, { writing: true, extended: true });
  state.budget--;
  state.extendAt = askedAt + settings.leaseMs / 3;
  try {
    const kept = await queue.extend([...held.map(({ delivery }) => delivery), ...state.results]);
    const isKept = ({ delivery }: Held) => kept.has(keyOf(delivery));
    extended(lanes, held.filter(isKept), askedAt + settings.leaseMs);
    // The room of lost deliveries is free for others.
    const lost = new Set(held.filter((each) => !isKept(each)));
    if (removeWaiting(lanes, (each) => lost.has(each)).length > 0) state.rung = true;
  } catch (error) {
    log.error('lease extension failed', { error });
    state.extendAt = clock.now() + RETRY_MS;
    lanes.leasesTooShort = false;
  }
  state.writing = false;
}

/**
 * Does a batch of a bulk action, then pauses for as long as it took, so that bulk actions leave half of the database's
 * time to others.
 */
export async function advance(run: Run): Promise<void> {
  const { state, queue, clock, log, failures } = run;
  const askedAt = clock.now();
  state.advancing = true;
  state.budget--;
  state.batches--;
  try {
    const advanced = await queue.advance();
    failures.advance = 0;
    // The next batch tells whether there is more to do.
    state.jobs = advanced !== undefined;
    if (advanced && advanced.done > 0) state.rung = true;
    const hasProgressed = advanced === undefined || advanced.done > 0 || advanced.finished;
    const pauseMs = Math.max(clock.now() - askedAt, hasProgressed ? 0 : NO_PROGRESS_DELAY_MS);
    state.advanceAt = state.mode === 'running' ? clock.now() + pauseMs : 0;
  } catch (error) {
    log.error('batch of a bulk action failed', { error });
    failures.advance++;
    // The next claim sets `jobs` again.
    state.jobs = false;
  }
  state.advancing = false;
}
