import type { Lanes } from './lanes.ts';
import { type Room, roomForClaim, wantsClaim } from './rooms.ts';
import type { Settlement } from './settlements.ts';

/** What the loop knows beside what it holds. Times are the clock's milliseconds. */
export type State = {
  /** Ends when stopped, when nothing more is due, or, stopping or failed, once nothing is held any more. */
  mode: 'idle' | 'running' | 'draining' | 'stopping' | 'failed';
  /** Something may be due: look as soon as there is room. */
  rung: boolean;
  /** When to look without being rung, and when something is known to be due. */
  tickAt: number;
  dueAt: number;
  /** No claim before: the last ones failed. */
  claimAt: number;
  claiming: boolean;
  lastClaimAt: number;
  /** A settlement or an extension is under way: never both, as they lock the same rows. */
  writing: boolean;
  /** What has ended and is not settled, and since when the oldest of it waits. */
  results: Settlement[];
  resultsSince: number;
  /** No settlement before: the last ones failed. */
  settleAt: number;
  extendAt: number;
  stalled: boolean;
  /** Subrequests left: claims, deliveries, settlements and extensions. */
  budget: number;
};

/** What to do now, and when to ask again where nothing happens before. */
export type Plan = {
  claim: Room | undefined;
  settle: boolean;
  extend: boolean;
  stalled: boolean;
  over: boolean;
  wakeAt: number;
};

/** How long results wait for more, so that they settle together, in milliseconds. */
const LINGER_MS = 20;
/** Subrequests kept for settling what is held: one, and one more should it fail. */
const RESERVE = 2;
const NEVER = Number.POSITIVE_INFINITY;

export const mayStart = ({ mode, budget }: State) => (mode === 'running' || mode === 'draining') && budget > RESERVE;

/** Whether the queue may hold more that is due than was looked at. */
export const isLookDue = ({ rung, tickAt, dueAt }: State, now: number) => rung || now >= tickAt || now >= dueAt;

/** Decides what the loop does next. `stallMs` is how long a dispatcher may go without a claim. */
export function plan(state: State, lanes: Lanes, stallMs: number, now: number): Plan {
  const { mode, results, writing } = state;
  const claim = claimNow(state, lanes, now);
  const extend = !writing && isHolding(state, lanes) && now >= state.extendAt && state.budget > RESERVE;
  const settle = !writing && !extend && now >= Math.max(state.settleAt, settleFrom(state, lanes));
  const isIdle = !isHolding(state, lanes) && !state.claiming && !writing && !claim;
  const stalled = mode === 'running' && now >= state.lastClaimAt + stallMs;
  const over = isIdle && mode !== 'running';
  return {
    claim,
    settle: settle && results.length > 0,
    extend,
    stalled,
    over,
    wakeAt: wakeAt(state, lanes, stallMs, now),
  };
}

/** What a claim may take, if there is to be one. */
function claimNow(state: State, lanes: Lanes, now: number): Room | undefined {
  if (state.claiming || now < state.claimAt || !mayStart(state)) return undefined;
  // Where results pile up, the database does not keep up: what is claimed now would be settled late.
  if (state.results.length > lanes.limits.batch) return undefined;
  const affordable = state.budget - RESERVE - lanes.waiting - 1;
  if (affordable <= 0 || !wantsClaim(lanes, isLookDue(state, now))) return undefined;
  const room = roomForClaim(lanes);
  const limit = Math.min(room.limit, affordable);
  return limit > 0 ? { ...room, limit } : undefined;
}

function isHolding({ results }: State, lanes: Lanes): boolean {
  return lanes.waiting + lanes.quick.size + lanes.slow.size + results.length > 0;
}

/** From when on results are settled: together where more are to come, and all at once where few subrequests are left. */
function settleFrom({ results, resultsSince, budget }: State, lanes: Lanes): number {
  if (results.length === 0) return NEVER;
  if (lanes.waiting + lanes.quick.size + lanes.slow.size === 0) return resultsSince;
  if (budget <= RESERVE) return NEVER;
  return results.length >= lanes.limits.batch / 2 ? resultsSince : resultsSince + LINGER_MS;
}

/** When there may be something to do without anything happening before. */
function wakeAt(state: State, lanes: Lanes, stallMs: number, now: number): number {
  let at = lanes.quick.size + lanes.slow.size > 0 ? lanes.checkAt : NEVER;
  if (!state.writing) {
    at = Math.min(at, Math.max(state.settleAt, settleFrom(state, lanes)));
    if (isHolding(state, lanes) && state.budget > RESERVE) at = Math.min(at, state.extendAt);
  }
  if (mayStart(state) && !state.claiming) {
    // A look that is due and has no room waits for something to end.
    if (!isLookDue(state, now)) at = Math.min(at, state.tickAt, state.dueAt);
    else if (now < state.claimAt) at = Math.min(at, state.claimAt);
  }
  if (state.mode === 'running' && !state.stalled) at = Math.min(at, state.lastClaimAt + stallMs);
  return at;
}
