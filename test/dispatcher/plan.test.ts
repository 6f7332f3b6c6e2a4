// What a dispatcher does next: arithmetic, with time as a number.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Delivery } from '../../src/dispatcher/claims.ts';
import { settle } from '../../src/dispatcher/exchange.ts';
import { createLanes, hold, startNext } from '../../src/dispatcher/lanes.ts';
import { interruptionOf, releaseOf, settlementOf } from '../../src/dispatcher/outcome.ts';
import { plan, type State } from '../../src/dispatcher/plan.ts';
import type { Queue } from '../../src/dispatcher/queue.ts';
import { processLimits } from '../../src/dispatcher/rooms.ts';
import type { Run } from '../../src/dispatcher/run.ts';
import type { Settlement } from '../../src/dispatcher/settlements.ts';
import { recordingLog } from '../support/deps.ts';

const NEVER = Number.POSITIVE_INFINITY;
const STALL_MS = 30_000;
const NOW = 1000;

const lanesOf = () =>
  createLanes({ ...processLimits({ concurrency: 4 }), concurrency: 4, batch: 20, deliveryTimeoutMs: 1000 });

const stateOf = (own: Partial<State> = {}): State => ({
  mode: 'running',
  rung: false,
  unvisited: false,
  tickAt: NOW + 5000,
  dueAt: NEVER,
  claimAt: 0,
  claiming: false,
  lastClaimAt: NOW,
  writing: false,
  results: [],
  resultsSince: NOW,
  settleAt: 0,
  extendAt: NEVER,
  extended: false,
  stalled: false,
  jobs: false,
  advancing: false,
  advanceAt: 0,
  batches: NEVER,
  budget: NEVER,
  ...own,
});

const delivery: Delivery = {
  id: 'n',
  lease: 'l',
  attempt: 1,
  type: 't',
  body: '{}',
  channel: 'webhook',
  recipient: null,
  traceparent: null,
  endpointId: 'e',
  endpoint: null,
};
/** Settles once, with `ask` as the queue's answer. */
const settleOnce = (state: State, ask: Queue['settle']) => {
  const rest = { clock: { now: () => NOW }, failures: { settle: 0 }, settings: { batch: 20 }, log: recordingLog() };
  return settle({ state, queue: { settle: ask }, ...rest } as unknown as Run);
};
const results = (count: number): Settlement[] => Array.from({ length: count }, () => releaseOf(delivery));

test('an idle dispatcher sleeps until its tick, or until something is due', () => {
  const quiet = plan(stateOf(), lanesOf(), STALL_MS, NOW);
  assert.deepEqual([quiet.claim, quiet.settle, quiet.over, quiet.wakeAt], [undefined, false, false, NOW + 5000]);
  assert.equal(plan(stateOf({ dueAt: NOW + 70 }), lanesOf(), STALL_MS, NOW).wakeAt, NOW + 70);
});

test('it looks when it is rung, at its tick and when something is due, one claim at a time', () => {
  for (const due of [{ rung: true }, { tickAt: NOW }, { dueAt: NOW }]) {
    assert.ok(plan(stateOf(due), lanesOf(), STALL_MS, NOW).claim);
  }
  assert.equal(plan(stateOf({ rung: true, claiming: true }), lanesOf(), STALL_MS, NOW).claim, undefined);
});

test('after a claim that failed it waits, however often it is rung', () => {
  const next = plan(stateOf({ rung: true, claimAt: NOW + 500 }), lanesOf(), STALL_MS, NOW);
  assert.deepEqual([next.claim, next.wakeAt], [undefined, NOW + 500]);
});

test('batches of actions come one at a time, when their time has come, beside claims, and never in a stop', () => {
  const jobs = { jobs: true, advanceAt: NOW };
  const advances = (own: Partial<State>) => plan(stateOf({ ...jobs, ...own }), lanesOf(), STALL_MS, NOW);
  assert.deepEqual([advances({}).advance, advances({ rung: true }).advance], [true, true]);
  assert.ok(advances({ rung: true }).claim);
  assert.equal(advances({ jobs: false }).advance, false);
  assert.equal(advances({ advancing: true }).advance, false);
  assert.equal(advances({ mode: 'stopping' }).advance, false);
  const later = advances({ advanceAt: NOW + 40 });
  assert.deepEqual([later.advance, later.wakeAt], [false, NOW + 40]);
  assert.equal(plan(stateOf({ mode: 'stopping', advancing: true }), lanesOf(), STALL_MS, NOW).over, false);
});

test('a drain does batches as long as its half of the subrequests lasts', () => {
  const drain = (own: Partial<State>) =>
    plan(
      stateOf({ mode: 'draining', jobs: true, tickAt: NEVER, budget: 20, batches: 10, ...own }),
      lanesOf(),
      STALL_MS,
      NOW,
    );
  assert.deepEqual([drain({}).advance, drain({}).over], [true, false]);
  assert.deepEqual([drain({ batches: 0 }).advance, drain({ batches: 0 }).over], [false, true]);
  assert.equal(drain({ budget: 3 }).advance, false);
});

test('results settle together, at once where nothing else is to come, and one statement at a time', () => {
  const busy = lanesOf();
  hold(busy, [delivery], NEVER);
  startNext(busy, NOW);
  const waiting = plan(stateOf({ results: results(1) }), busy, STALL_MS, NOW);
  assert.deepEqual([waiting.settle, waiting.wakeAt], [false, NOW + 20]);
  assert.equal(plan(stateOf({ results: results(10) }), busy, STALL_MS, NOW).settle, true, 'half a batch');
  assert.equal(plan(stateOf({ results: results(1) }), busy, STALL_MS, NOW + 20).settle, true, 'a while later');
  assert.equal(plan(stateOf({ results: results(1) }), lanesOf(), STALL_MS, NOW).settle, true, 'the last');
  assert.equal(plan(stateOf({ results: results(10), writing: true }), busy, STALL_MS, NOW).settle, false);
  assert.equal(plan(stateOf({ results: results(10), settleAt: NOW + 1 }), busy, STALL_MS, NOW).settle, false);
});

test('leases are extended before results are settled, never at the same time', () => {
  const next = plan(stateOf({ results: results(20), extendAt: NOW }), lanesOf(), STALL_MS, NOW);
  assert.deepEqual([next.extend, next.settle], [true, false]);
});

test('after an extension, results are settled before the next one', () => {
  const own = { results: results(20), extendAt: NOW, extended: true };
  const next = plan(stateOf(own), lanesOf(), STALL_MS, NOW);
  assert.deepEqual([next.extend, next.settle], [false, true]);
  assert.equal(plan(stateOf({ ...own, settleAt: NOW + 1 }), lanesOf(), STALL_MS, NOW).extend, true, 'not meanwhile');
});

test('where results pile up, or could not be settled, nothing more is claimed', () => {
  const claims = (own: Partial<State>) => plan(stateOf({ rung: true, ...own }), lanesOf(), STALL_MS, NOW).claim;
  assert.equal(claims({ results: results(21) }), undefined);
  assert.ok(claims({ results: results(1) }));
  assert.equal(claims({ results: results(1), settleAt: NOW - 1 }), undefined, 'their leases may have expired');
  assert.equal(claims({ settleAt: NOW - 1, writing: true }), undefined, 'while they are settled');
});

test('after a settlement that failed, claims go on once nothing is left to be settled', async () => {
  const outcomes = [new Error('away'), undefined, undefined];
  const state = stateOf({ results: results(30), rung: true });
  const claims = [];
  for (let i = 0; i < 3; i++) {
    await settleOnce(state, async (some) => {
      const error = outcomes.shift();
      if (error) throw error;
      return { settled: some.length, changes: [] };
    });
    claims.push([state.results.length, plan(state, lanesOf(), STALL_MS, NOW + 1000).claim !== undefined]);
  }
  assert.deepEqual(claims, [
    [30, false],
    [10, false],
    [0, true],
  ]);
});

test('a stop is over once nothing is held and nothing under way; a drain, once nothing is due either', () => {
  const over = (own: Partial<State>, lanes = lanesOf()) => plan(stateOf(own), lanes, STALL_MS, NOW).over;
  assert.equal(over({ mode: 'running' }), false);
  assert.equal(over({ mode: 'stopping', rung: true }), true);
  for (const pending of [{ claiming: true }, { writing: true }, { results: results(1) }]) {
    assert.equal(over({ mode: 'stopping', ...pending }), false);
  }
  const busy = lanesOf();
  hold(busy, [delivery], NEVER);
  assert.equal(over({ mode: 'failed' }, busy), false);
  assert.deepEqual([over({ mode: 'draining', rung: true }), over({ mode: 'draining' })], [false, true]);
});

test('of few subrequests, what is needed to settle is kept: for nothing else is claimed or settled early', () => {
  const claim = (budget: number) => plan(stateOf({ rung: true, budget }), lanesOf(), STALL_MS, NOW).claim?.limit;
  assert.deepEqual([claim(3), claim(4), claim(6)], [undefined, 1, 3]);
  const busy = lanesOf();
  hold(busy, [delivery], NEVER);
  startNext(busy, NOW);
  const late = NOW + 10_000;
  assert.equal(plan(stateOf({ results: results(20), budget: 2 }), busy, STALL_MS, late).settle, false);
  assert.equal(plan(stateOf({ results: results(20), budget: 2 }), lanesOf(), STALL_MS, late).settle, true);
});

test('with few subrequests left, all results are settled by one statement, however many', async () => {
  const settled: number[] = [];
  for (const budget of [NEVER, 3, 2, 1]) {
    await settleOnce(stateOf({ results: results(70), budget }), async (some) => {
      settled.push(some.length);
      return { settled: some.length, changes: [] };
    });
  }
  assert.deepEqual(settled, [20, 20, 70, 70]);
});

test('a dispatcher that has not claimed for a while is told of once', () => {
  const next = plan(stateOf(), lanesOf(), STALL_MS, NOW + STALL_MS);
  assert.equal(next.stalled, true);
  const told = plan(stateOf({ stalled: true, tickAt: NEVER }), lanesOf(), STALL_MS, NOW + STALL_MS);
  assert.equal(told.wakeAt, NEVER);
});

test('what becomes of an attempt: sent, due again on schedule, or dead', () => {
  const measured = { durationMs: 7, maxAttempts: 3, random: 0.5 };
  const held = { id: 'n', lease: 'l' };
  const failed = { ok: false, status: 500, error: 'HTTP 500' } as const;
  assert.deepEqual(settlementOf(delivery, { ok: true, status: 204 }, measured), {
    ...held,
    outcome: 'sent',
    durationMs: 7,
    status: 204,
  });
  const rest = { ...held, durationMs: 7, status: 500, error: 'HTTP 500', url: delivery.endpoint?.url };
  assert.deepEqual(settlementOf(delivery, failed, measured), { ...rest, outcome: 'retry', delayMs: 5000 });
  assert.deepEqual(settlementOf({ ...delivery, attempt: 3 }, failed, measured), { ...rest, outcome: 'dead' });
  assert.deepEqual(settlementOf(delivery, { ...failed, final: true }, measured), { ...rest, outcome: 'dead' });
  const blameless = settlementOf(delivery, { ...failed, blameless: true }, measured);
  assert.deepEqual([blameless.outcome, blameless.blameless], ['retry', true]);
});

test('what a shutdown interrupts is repeated once it cannot be under way any more, and never in the past', () => {
  assert.equal(interruptionOf(delivery, 400, 600).delayMs, 600);
  assert.equal(interruptionOf(delivery, 9000, -8000).delayMs, 0);
});
