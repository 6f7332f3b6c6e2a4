import type { Room } from './claims.ts';
import type { Lanes } from './lane.ts';
import { roomForClaim, wantsClaim } from './rooms.ts';
import type { Settlement } from './settlements.ts';

/** The state of the loop, apart from the lanes. Times are in milliseconds of the clock. */
export type State = {
  /** `running` ends by `stop`; `draining` when nothing is due; `stopping` and `failed` when nothing is held. */
  mode: 'idle' | 'running' | 'draining' | 'stopping' | 'failed';
  /** Something may be due: claim as soon as there is room. */
  rung: boolean;
  /** The last claim has not visited every lane: its round goes on. */
  unvisited: boolean;
  /** When to claim without a ring, and when something is known to be due. */
  tickAt: number;
  dueAt: number;
  /** The earliest time of the next claim, after failures. */
  claimAt: number;
  claiming: boolean;
  lastClaimAt: number;
  /** A settlement or an extension is under way. Never both: they lock the same rows. */
  writing: boolean;
  /** Results to be settled, and since when the oldest has been waiting. */
  results: Settlement[];
  resultsSince: number;
  /** After a settlement that failed, the earliest time of the next; 0 once nothing is left to be settled. */
  settleAt: number;
  extendAt: number;
  /** The last write was an extension. */
  extended: boolean;
  stalled: boolean;
  /** Bulk actions are running; a batch of one is under way; the earliest time of the next; how many a run may do. */
  jobs: boolean;
  advancing: boolean;
  advanceAt: number;
  batches: number;
  /** Subrequests left: claims, deliveries, settlements, extensions and batches. */
  budget: number;
};

/** What to do now, and when to plan again if nothing happens before. */
export type Plan = {
  claim: Room | undefined;
  settle: boolean;
  extend: boolean;
  advance: boolean;
  stalled: boolean;
  over: boolean;
  wakeAt: number;
};

/** Milliseconds that results wait for more, to be settled in one batch. */
const LINGER_MS = 20;
/** Subrequests reserved for the last settlement and one retry. */
export const RESERVE = 2;
export const NEVER = Number.POSITIVE_INFINITY;

export const mayStart = ({ mode, budget }: State) => (mode === 'running' || mode === 'draining') && budget > RESERVE;

/** Whether the queue may have due deliveries that no claim has seen. */
export const mayBeDue = (state: State, now: number) => state.unvisited || isRoundDue(state, now);

/** Whether due deliveries that no claim has seen may be in a lane that this round visited. */
export const isRoundDue = ({ rung, tickAt, dueAt }: State, now: number) => rung || now >= tickAt || now >= dueAt;

/** Decides what the loop does next. After `stallMs` without a claim, the dispatcher is stalled. */
export function plan(state: State, lanes: Lanes, stallMs: number, now: number): Plan {
  const { mode, writing } = state;
  const claim = claimNow(state, lanes, now);
  const maySettle = !writing && now >= Math.max(state.settleAt, settleFrom(state, lanes));
  const mayExtend = !writing && isHolding(state, lanes) && now >= state.extendAt && state.budget > RESERVE;
  // A database that is so slow that leases need one extension after another must not keep results from being settled.
  const extend = mayExtend && !(maySettle && state.extended);
  const settle = maySettle && !extend;
  const advance = mayAdvance(state, lanes) && now >= state.advanceAt;
  const isIdle = !isHolding(state, lanes) && !state.claiming && !writing && !claim && !state.advancing && !advance;
  const stalled = mode === 'running' && now >= state.lastClaimAt + stallMs;
  const over = isIdle && mode !== 'running';
  return {
    claim,
    settle,
    extend,
    advance,
    stalled,
    over,
    wakeAt: wakeAt(state, lanes, stallMs, now),
  };
}

/** Returns the room for a claim, or undefined if no claim is to be made now. */
function claimNow(state: State, lanes: Lanes, now: number): Room | undefined {
  if (state.claiming || now < state.claimAt || !mayStart(state)) return undefined;
  // The database does not keep up with settlements. What is claimed now would be settled late.
  if (state.results.length > lanes.limits.batch) return undefined;
  // Or it was away for longer than the leases last: what has been delivered must be settled before it is claimed again.
  if (state.settleAt > 0) return undefined;
  const affordable = state.budget - RESERVE - lanes.waiting - 1;
  if (affordable <= 0 || !wantsClaim(lanes, mayBeDue(state, now))) return undefined;
  const room = roomForClaim(lanes);
  const limit = Math.min(room.limit, affordable);
  return limit > 0 ? { ...room, limit } : undefined;
}

/** Whether a batch of a bulk action may be done, regardless of the time. Deliveries come first. */
function mayAdvance(state: State, lanes: Lanes): boolean {
  const { jobs, advancing, batches, budget } = state;
  return jobs && !advancing && batches > 0 && mayStart(state) && budget - RESERVE - lanes.waiting - 1 > 0;
}

function isHolding({ results }: State, lanes: Lanes): boolean {
  return lanes.waiting + lanes.quick.length + lanes.slow.length + results.length > 0;
}

/** Returns when results are settled: after a short wait for more, or, with few subrequests left, all at the end. */
function settleFrom({ results, resultsSince, budget }: State, lanes: Lanes): number {
  if (results.length === 0) return NEVER;
  if (lanes.waiting + lanes.quick.length + lanes.slow.length === 0) return resultsSince;
  if (budget <= RESERVE) return NEVER;
  return results.length >= lanes.limits.batch / 2 ? resultsSince : resultsSince + LINGER_MS;
}

/** Returns when there may be something to do if nothing happens before. */
function wakeAt(state: State, lanes: Lanes, stallMs: number, now: number): number {
  let at = lanes.quick.length + lanes.slow.length > 0 ? lanes.checkAt : NEVER;
  if (!state.writing) {
    at = Math.min(at, Math.max(state.settleAt, settleFrom(state, lanes)));
    if (isHolding(state, lanes) && state.budget > RESERVE) at = Math.min(at, state.extendAt);
  }
  if (mayStart(state) && !state.claiming) {
    // A claim without room waits until a delivery ends.
    if (!mayBeDue(state, now)) at = Math.min(at, state.tickAt, state.dueAt);
    else if (now < state.claimAt) at = Math.min(at, state.claimAt);
  }
  if (state.mode === 'running' && mayAdvance(state, lanes)) at = Math.min(at, state.advanceAt);
  if (state.mode === 'running' && !state.stalled) at = Math.min(at, state.lastClaimAt + stallMs);
  return at;
}
