import type { Attempt, Channel } from '../../src/dispatcher/channels/channel.ts';
import { createDispatcher, type Dispatcher } from '../../src/dispatcher/dispatch.ts';
import { GRACE_MS, SLOW_MS } from '../../src/dispatcher/lanes.ts';
import type { Queue } from '../../src/dispatcher/queue.ts';
import { processLimits } from '../../src/dispatcher/rooms.ts';
import type { DispatchSettings } from '../../src/dispatcher/run.ts';
import { silent } from '../support/deps.ts';
import { randomFrom } from '../support/random.ts';
import { createStore, laneOf, type Row, type Store } from './queue.ts';
import { type VirtualTime, virtualTime } from './time.ts';

/** What a receiver does with a request; `stuck` is a channel with a defect, which may never settle. */
type Manner = 'quick' | 'slow' | 'silent' | 'failing' | 'gone' | 'flaky' | 'stuck';
const MANNERS: Manner[] = ['quick', 'quick', 'quick', 'slow', 'silent', 'failing', 'gone', 'flaky', 'stuck'];

/** What the database does for a while: refuses, answers late, loses its answers, or says nothing at all. */
type Fault = 'refuses' | 'late' | 'loses answers' | 'silent';
const FAULTS: Fault[] = ['refuses', 'late', 'loses answers', 'silent'];

/** A statement's time limit plus the grace after it, as the adapter applies them. */
const STATEMENT_MS = 4000;
/** The longest that a healthy database, a late one, and a ring take. */
const ANSWER_MS = 20;
const LATE_MS = 2900;
const RING_MS = 5;
/** When everything has been enqueued, and all faults are over. */
const CALM_AT_MS = 60_000;
/** When everything has ended. */
const END_MS = 20_000_000;
/** More bytes than can ever wait. */
const PLENTY = 1e6;
/** How many consecutive claims may return nothing within a second: some for each ring and each thing that ends. */
const FRUITLESS = 100;
/** How late a delivery may start if nothing was in its way: rings and a few claims. */
const PROMPT_MS = 6 * ANSWER_MS + 50;

type Process = {
  dispatcher: Dispatcher;
  settings: DispatchSettings;
  state: 'running' | 'stopping' | 'over' | 'killed';
  running: Promise<void>;
  /** Deliveries under way, by notification, each with its lane and start. */
  underWay: Map<string, { lane: string; at: number }>;
  /** When the recent claims that returned nothing were made, since one that returned something. */
  fruitless: number[];
};

type World = {
  time: VirtualTime;
  store: Store;
  random: () => number;
  manners: Map<string, Manner>;
  processes: Process[];
  fault: Fault | undefined;
  /** Whether no ring is lost, no process is killed, and the database is healthy. */
  calm: boolean;
  intervalMs: number;
  /** Since when there is no general obstacle: faults, kills, stops, or no room. */
  clearSince: number;
  /** Since when nothing is under way in a lane. */
  idleSince: Map<string, number>;
  violations: string[];
};

const between = (random: () => number, least: number, most: number) =>
  least + Math.floor(random() * (most - least + 1));
const pick = <T>(random: () => number, from: readonly T[]) => from[Math.floor(random() * from.length)] as T;

/** Runs dispatchers through the history that a seed determines, and returns which promises were broken. */
export async function simulate(seed: number): Promise<string[]> {
  const random = randomFrom(seed);
  const time = virtualTime();
  const world: World = {
    time,
    // Not drawn from the history's own numbers, so that old seeds still produce the same histories.
    store: createStore(time, pick(randomFrom(seed + 1), [3, 1000])),
    random,
    manners: new Map(),
    processes: [],
    fault: undefined,
    calm: random() < 0.3,
    intervalMs: between(random, 2000, 20_000),
    clearSince: 0,
    idleSince: new Map(),
    violations: [],
  };
  const endpoints = Array.from({ length: between(random, 1, 8) }, (_, i) => `endpoint-${i}`);
  for (const id of endpoints) world.store.endpoints.set(id, { failures: 0, pausedUntil: 0 });
  for (const endpointId of [...endpoints, null]) world.manners.set(laneOf({ endpointId }), pick(random, MANNERS));
  const count = world.calm ? 1 : between(random, 1, 3);
  for (let i = 0; i < count; i++) startProcess(world);
  scheduleArrivals(world, [...endpoints, null]);
  if (!world.calm) {
    scheduleFaults(world);
    scheduleStops(world);
    scheduleChanges(world, endpoints);
  }
  await time.run(END_MS, () => time.now() > 2 * CALM_AT_MS && world.store.rows.size === 0);
  checkEnd(world);
  return world.violations.map((violation) => `seed ${seed}: ${violation}`);
}

function startProcess(world: World): void {
  const { random, time, processes, intervalMs } = world;
  const concurrency = pick(random, [1, 2, 4, 16]);
  const deliveryTimeoutMs = between(random, 1000, 15_000);
  const settings: DispatchSettings = {
    ...processLimits({ concurrency }),
    concurrency,
    batch: between(random, 1, 30),
    maxWaitingBytes: pick(random, [2, 20, PLENTY]),
    intervalMs,
    deliveryTimeoutMs,
    leaseMs: deliveryTimeoutMs + between(random, 200, 30_000),
    maxAttempts: between(random, 1, 3),
  };
  const process = { settings, state: 'running', underWay: new Map(), fruitless: [] } as unknown as Process;
  const channel = channelOf(world, process);
  process.dispatcher = createDispatcher({
    queue: queueOf(world, process),
    channels: { email: channel, webhook: channel },
    clock: { now: time.now, after: (ms, call) => time.after(ms, () => isAlive(process) && call()) },
    log: silent,
    metrics: { delivery() {}, dispatcherTick() {} },
    random,
    settings,
  });
  processes.push(process);
  process.running = process.dispatcher.run().then(
    () => {
      process.state = 'over';
    },
    (error) => void world.violations.push(`a dispatcher failed: ${error.stack}`),
  );
}

/** Records that there is a general obstacle until `until`. */
function disturb(world: World, until: number): void {
  world.clearSince = Math.max(world.clearSince, until);
}

const isAlive = ({ state }: Process) => state === 'running' || state === 'stopping';

/** Returns the queue as a process reaches it: over a network, in a database that may be unhealthy. */
function queueOf(world: World, process: Process): Queue {
  const { store, time, random } = world;
  const { leaseMs } = process.settings;
  const call = <T>(effect: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      const { fault } = world;
      const later = (ms: number, what: () => void) => void time.after(ms, () => isAlive(process) && what());
      if (fault === 'refuses' || fault === 'silent') {
        return later(fault === 'silent' ? STATEMENT_MS : 1, () => reject(new Error(fault)));
      }
      const ms = between(random, 1, fault === 'late' ? LATE_MS : ANSWER_MS);
      // What was sent takes effect, whatever happens to its sender.
      time.after(ms / 2, () => {
        const result = effect();
        if (fault === 'loses answers') later(STATEMENT_MS, () => reject(new Error(fault)));
        else later(ms / 2, () => resolve(result));
      });
    });
  return {
    claim: async (request) => {
      const claimed = await call(() => store.claim({ ...request, leaseMs }));
      checkFruit(world, process, claimed.deliveries.length);
      return claimed;
    },
    settle: (results) => call(() => store.settle(results)),
    extend: (held) => call(() => store.extend(held, leaseMs)),
    advance: () => call(() => undefined),
  };
}

/** Reports a dispatcher that claims without a pause although there is nothing to claim. */
function checkFruit({ time, violations }: World, process: Process, taken: number): void {
  const now = time.now();
  process.fruitless = taken > 0 ? [] : [...process.fruitless.filter((at) => at > now - 1000), now];
  if (process.fruitless.length === FRUITLESS) violations.push(`${FRUITLESS} claims in vain in a second at ${now}`);
}

/** Returns a receiver that sees what is under way and reports violations. */
function channelOf(world: World, process: Process): Channel {
  const { time, violations } = world;
  const { settings, underWay } = process;
  return (delivery) =>
    new Promise((resolve) => {
      const { id } = delivery;
      const lane = laneOf(delivery);
      const manner = world.manners.get(lane) as Manner;
      checkStart(world, process, id, lane);
      underWay.set(id, { lane, at: time.now() });
      const end = (attempt: Attempt | undefined) => {
        // A channel that never settles keeps its room a little longer than its timeout.
        const freeAt = time.now() + (attempt ? 0 : GRACE_MS);
        if (!hasRoom(world)) disturb(world, freeAt);
        underWay.delete(id);
        world.idleSince.set(lane, Math.max(world.idleSince.get(lane) ?? 0, freeAt));
        if (isAlive(process) && attempt) resolve(attempt);
      };
      const { ms, attempt } = answerOf(world, manner, settings);
      if (ms > settings.deliveryTimeoutMs + GRACE_MS) violations.push(`a receiver answered after ${ms} ms`);
      time.after(ms, () => underWay.has(id) && end(attempt));
    });
}

function answerOf({ random }: World, manner: Manner, { deliveryTimeoutMs }: DispatchSettings) {
  const quickly = between(random, 1, 50);
  const sent: Attempt = { ok: true, status: 204 };
  const failed: Attempt = { ok: false, status: 500, error: 'HTTP 500' };
  switch (manner) {
    case 'quick':
      return { ms: quickly, attempt: sent };
    case 'slow':
      return { ms: between(random, 500, deliveryTimeoutMs), attempt: sent };
    case 'silent':
      return { ms: deliveryTimeoutMs, attempt: { ok: false, status: null, error: 'timed out' } as Attempt };
    case 'failing':
      return { ms: quickly, attempt: failed };
    case 'gone':
      return { ms: quickly, attempt: { ...failed, status: 410, final: true } };
    case 'flaky':
      return { ms: random() < 0.8 ? quickly : deliveryTimeoutMs, attempt: random() < 0.7 ? sent : failed };
    case 'stuck':
      return { ms: deliveryTimeoutMs, attempt: random() < 0.5 ? undefined : sent };
  }
}

const isUnderWay = ({ processes }: World, lane: string) =>
  processes.some(({ underWay }) => [...underWay.values()].some((each) => each.lane === lane));

function checkStart(world: World, process: Process, id: string, lane: string): void {
  const { processes, violations, store, time } = world;
  const { settings, underWay, state } = process;
  if (state !== 'running') violations.push(`${id} starts at a dispatcher that is ${state}`);
  if (processes.some((each) => each.underWay.has(id))) violations.push(`${id} is under way twice at ${time.now()}`);
  if (store.outcomes.has(id)) violations.push(`${id} starts again after it has ended`);
  const inLane = [...underWay.values()].filter((each) => each.lane === lane).length + 1;
  if (inLane > settings.laneConcurrency) violations.push(`${inLane} under way in ${lane}`);
  if (underWay.size + 1 > settings.totalConcurrency) violations.push(`${underWay.size + 1} under way in all`);
}

/** Whether a running dispatcher has room for any kind of delivery; otherwise a lane may have to wait for others. */
function hasRoom({ processes }: World): boolean {
  return processes.some(({ state, underWay, settings }) => {
    const room = Math.min(Math.ceil(settings.concurrency / 2), settings.overflowConcurrency / 2);
    return state === 'running' && underWay.size < room;
  });
}

/** Looks periodically for a lane that has something due, nothing under way and no obstacle, but is not served. */
function watchIdleness(world: World): void {
  const { time, store, processes, calm, intervalMs, idleSince, violations } = world;
  const now = time.now();
  if (!hasRoom(world) || world.fault) disturb(world, now);
  // Where few bytes may wait, a lane that turns slow gives back those that it took.
  const scarce = processes.some(({ settings }) => settings.maxWaitingBytes < PLENTY);
  const patience = PROMPT_MS + (calm ? 0 : intervalMs) + (scarce ? SLOW_MS : 0);
  for (const [lane, rows] of Map.groupBy(store.rows.values(), laneOf)) {
    if (isUnderWay(world, lane)) continue;
    const { pausedUntil = 0 } = store.endpoints.get(lane) ?? {};
    const free = Math.max(world.clearSince, idleSince.get(lane) ?? 0, pausedUntil);
    for (const row of rows) checkPrompt(row, Math.max(free, dueSince(world, row)), now - patience);
  }

  function checkPrompt({ id, lease }: Row, since: number, latest: number): void {
    if (since >= latest) return;
    violations.push(`${id} is due since ${since}, nothing is in its way, and at ${now} it has not started (${lease})`);
    disturb(world, now);
  }
}

/** When a row became due. A row that is leased is due at the end of its lease, or now if that is yet to come. */
function dueSince({ time }: World, { dueAt, lease }: Row): number {
  return lease === null ? dueAt : Math.min(dueAt, time.now());
}

function scheduleArrivals(world: World, endpointIds: (string | null)[]): void {
  const { random, time, store, calm, processes } = world;
  const count = between(random, 1, 40);
  for (let i = 0; i < count; i++) {
    const burst = random() < 0.2 ? between(random, 2, 15) : 1;
    const at = random() < 0.5 ? 0 : between(random, 0, CALM_AT_MS - 1000);
    const endpointId = pick(random, endpointIds);
    time.after(at, () => {
      for (let k = 0; k < burst; k++) store.enqueue(`notification-${i}-${k}`, endpointId);
      const rung = pick(random, processes);
      if (calm || random() < 0.8) time.after(RING_MS, () => isAlive(rung) && rung.dispatcher.wake());
    });
  }
  for (let at = 0; at < 2 * CALM_AT_MS; at += 500) time.after(at, () => watchIdleness(world));
}

function scheduleFaults(world: World): void {
  const { random, time } = world;
  for (let i = between(random, 0, 3); i > 0; i--) {
    const begins = between(random, 0, CALM_AT_MS - 10_000);
    const fault = pick(random, FAULTS);
    time.after(begins, () => {
      world.fault = fault;
    });
    // A statement sent during the fault may take as long as its time limit.
    const ends = begins + between(random, 100, 8000);
    time.after(ends, () => {
      world.fault = undefined;
      disturb(world, ends + STATEMENT_MS + 2 * world.intervalMs);
    });
  }
}

/** Kills and stops, each followed by a replacement. */
function scheduleStops(world: World): void {
  const { random, time, processes } = world;
  for (let i = between(random, 0, 3); i > 0; i--) {
    const kills = random() < 0.5;
    time.after(between(random, 0, CALM_AT_MS - 1000), () => {
      const victim = processes.find(({ state }) => state === 'running');
      if (!victim) return;
      if (kills) kill(world, victim);
      else stop(world, victim);
      startProcess(world);
      // The leases of what it held expire by themselves.
      disturb(world, time.now() + 45_000 + 2 * world.intervalMs);
    });
  }
}

function kill({ time, idleSince }: World, victim: Process): void {
  victim.state = 'killed';
  // Its connections close with it.
  for (const { lane } of victim.underWay.values()) idleSince.set(lane, time.now());
  victim.underWay.clear();
}

function stop(world: World, victim: Process): void {
  const { random, time, violations } = world;
  const { deliveryTimeoutMs } = victim.settings;
  const force = new AbortController();
  const patience = random() < 0.5 ? between(random, 0, 5000) : Number.POSITIVE_INFINITY;
  victim.state = 'stopping';
  victim.dispatcher.stop(force.signal);
  if (patience < deliveryTimeoutMs) time.after(patience, () => force.abort());
  const within = Math.min(patience, deliveryTimeoutMs + GRACE_MS) + 5 * (STATEMENT_MS + 1000);
  time.after(within, () => {
    if (victim.state !== 'over') violations.push(`a stop has not ended after ${within} ms`);
    victim.underWay.clear();
  });
}

/** Changes endpoints, which ends a pause and affects what is claimed but not started. */
function scheduleChanges({ random, time, store, processes }: World, endpoints: string[]): void {
  for (let i = between(random, 0, 5); i > 0; i--) {
    time.after(between(random, 0, CALM_AT_MS), () => {
      const id = pick(random, endpoints);
      store.endpoints.set(id, { failures: 0, pausedUntil: time.now() });
      for (const process of processes) if (isAlive(process)) process.dispatcher.wake(id);
    });
  }
}

function checkEnd({ store, violations, processes }: World): void {
  for (const { id, lease, attempt } of store.rows.values()) {
    violations.push(`${id} has not ended (attempt ${attempt}, ${lease ? 'leased' : 'not leased'})`);
  }
  for (const { underWay, state } of processes) {
    if (state === 'running' && underWay.size > 0) violations.push(`${underWay.size} under way for ever`);
  }
}
