import type { Db } from '../db.ts';
import type { Log, Metrics } from '../deps.ts';
import type { Attempt, Channel } from './channels/channel.ts';
import { claimDeliveries, type Delivery, extendLeases } from './claims.ts';
import { createLanes } from './lanes.ts';
import { retryDelay } from './retry.ts';
import { type Settlement, settleDeliveries } from './settlements.ts';

/** The dispatcher's part of the configuration; times in milliseconds. */
export type DispatchSettings = {
  /** How often to look without being rung. */
  intervalMs: number;
  batch: number;
  concurrency: number;
  /** How many slow deliveries may go on beside the `concurrency`: as many again unless said. */
  beside?: number;
  leaseMs: number;
  maxAttempts: number;
  deliveryTimeoutMs: number;
};

export type DispatchDeps = {
  db: Db;
  channels: Record<Delivery['channel'], Channel>;
  log: Log;
  metrics: Pick<Metrics, 'delivery' | 'dispatcherTick'>;
  /** From 0 to 1. */
  random: () => number;
  /** Names this dispatcher in the record of attempts. */
  name: string;
  settings: DispatchSettings;
};

export type Dispatcher = {
  /** Rings: something may be due. Many rings are one. */
  wake(): void;
  /** Delivers until `stop`. Rejects only for a defect: a database that is away is waited for. */
  run(): Promise<void>;
  /**
   * Delivers until nothing is due, or `most` are delivered, and returns the milliseconds until more will be: 0 where
   * more may be due already, null where none is known.
   */
  drain(most?: number): Promise<number | null>;
  /** Ends `run` once what is under way is settled, the rest given back; `force` cuts short what is under way. */
  stop(force: AbortSignal): void;
};

type Active = { delivery: Delivery; startedAt: number; inSlot: boolean };

/** How long a delivery may keep one of the `concurrency` slots; a slower one goes on beside them. */
const SLOT_MS = 1000;
const SWEEP_MS = 100;
/** How long after its time a channel may still end by itself. */
const GRACE_MS = 500;
/** How long results may wait for more, so that they settle together. */
const LINGER_MS = 20;
const SETTLE_RETRY_MS = 500;
const SETTLE_TRIES_AT_STOP = 3;

/**
 * Claims, delivers, settles. Holds at most two batches, and has at most twice `concurrency` under way, not counting
 * what it gave up on.
 */
export function createDispatcher({ db, channels, log, metrics, random, name, settings }: DispatchDeps): Dispatcher {
  const { intervalMs, batch, concurrency, beside = concurrency, leaseMs, maxAttempts, deliveryTimeoutMs } = settings;
  const lanes = createLanes({ concurrency, batch, leaseMs });
  const active = new Set<Active>();
  const results: Settlement[] = [];
  let inSlots = 0;
  /** How many more may be claimed. */
  let left = Number.POSITIVE_INFINITY;
  let mayBeDue = true;
  let nextAt: number | null = null;
  /** When to look at the queue without being rung. */
  let lookAt = 0;
  let claiming: Promise<void> | undefined;
  let flushing: Promise<void> | undefined;
  let running = false;
  let untilIdle = false;
  let stopping = false;
  let ended = () => {};
  let failed: (defect: unknown) => void = () => {};
  let defect: { error: unknown } | undefined;
  let lingered = () => {};
  let alarm: ReturnType<typeof setTimeout> | undefined;

  function wake(): void {
    mayBeDue = true;
    step();
  }

  async function work(): Promise<void> {
    const sweeper = setInterval(sweep, SWEEP_MS);
    const keeper = setInterval(keepLeases, leaseMs / 3);
    try {
      await new Promise<void>((resolve, reject) => {
        ended = resolve;
        failed = reject;
        running = true;
        step();
      });
    } finally {
      running = false;
      untilIdle = false;
      clearInterval(sweeper);
      clearInterval(keeper);
      if (alarm !== undefined) clearTimeout(alarm);
    }
  }

  // Called whenever something has changed: starts what can be started now.
  function step(): void {
    if (!running) return;
    try {
      if (!stopping && mayClaim()) startClaim();
      startWaiting();
      if (!isIdle() || !(stopping || (untilIdle && (!mayBeDue || left <= 0)))) return;
      running = false;
      if (defect) failed(defect.error);
      else ended();
    } catch (error) {
      stopFor(error);
    }
  }

  // A defect ends it as a stop does, with what is under way awaited and settled; a second one at once.
  function stopFor(error: unknown): void {
    if (defect) {
      failed(error);
      return;
    }
    defect = { error };
    stopping = true;
    release(lanes.remove());
    step();
  }

  // Refilled when half empty: claims are worth their round trip, and no more is held than half a lease can start.
  function roomFor(): number {
    const most = Math.min(batch, lanes.startable());
    return lanes.waiting() <= most / 2 ? Math.min(left, most - lanes.waiting()) : 0;
  }

  function mayClaim(): boolean {
    return mayBeDue && !claiming && results.length <= batch && roomFor() > 0;
  }

  function isAllDelivered(): boolean {
    return lanes.waiting() + active.size === 0;
  }

  function isIdle(): boolean {
    return isAllDelivered() && results.length === 0 && !claiming && !flushing;
  }

  // Not waited for: what is held goes on meanwhile.
  function startClaim(): void {
    claiming = claimSome().finally(() => {
      claiming = undefined;
      step();
    });
  }

  async function claimSome(): Promise<void> {
    const limit = roomFor();
    mayBeDue = false;
    try {
      nextAt = null;
      const lease = crypto.randomUUID();
      const claimed = await claimDeliveries(db, { limit, leaseMs, lease, cap: lanes.cap, free: lanes.free() });
      left -= claimed.deliveries.length;
      // A retry noted meanwhile may be later than what the claim saw of the queue.
      if (claimed.nextMs !== null) noteDue(claimed.nextMs);
      if (stopping) release(claimed.deliveries);
      else for (const delivery of claimed.deliveries) lanes.add(delivery);
      if (claimed.more) mayBeDue = true;
      metrics.dispatcherTick(false);
    } catch (error) {
      metrics.dispatcherTick(true);
      log.error('dispatcher cannot claim', { error });
    }
    lookAt = performance.now() + intervalMs;
    if (!stopping) setAlarm();
  }

  function setAlarm(): void {
    if (alarm !== undefined) clearTimeout(alarm);
    alarm = setTimeout(wake, Math.max(1, Math.ceil(Math.min(lookAt, nextAt ?? lookAt) - performance.now())));
  }

  function noteDue(inMs: number): void {
    nextAt = Math.min(nextAt ?? Number.POSITIVE_INFINITY, performance.now() + inMs);
  }

  function msUntilNext(): number | null {
    return nextAt === null ? null : Math.ceil(nextAt - performance.now());
  }

  function startWaiting(): void {
    while (inSlots < concurrency && !stopping) {
      const delivery = lanes.next();
      if (!delivery) return;
      start(delivery);
    }
  }

  function start(delivery: Delivery): void {
    const entry: Active = { delivery, startedAt: performance.now(), inSlot: true };
    active.add(entry);
    inSlots++;
    void attemptOnce(delivery).then((attempt) => finish(entry, attempt));
  }

  async function attemptOnce(delivery: Delivery): Promise<Attempt> {
    if (delivery.attempt > maxAttempts) return { ...failure('the last attempts never finished'), final: true };
    try {
      return await channels[delivery.channel](delivery);
    } catch (error) {
      log.error('delivery failed unexpectedly', { notificationId: delivery.id, error });
      return failure('internal error');
    }
  }

  function finish(entry: Active, attempt: Attempt, cut = false): void {
    // What was given up on may still end some day.
    if (!active.delete(entry)) return;
    try {
      const { delivery, startedAt, inSlot } = entry;
      const durationMs = Math.round(performance.now() - startedAt);
      if (inSlot) inSlots--;
      if (lanes.finish(delivery, durationMs)) mayBeDue = true;
      settleLater(settlementOf(delivery, attempt, durationMs, cut));
      step();
    } catch (error) {
      stopFor(error);
    }
  }

  function settlementOf(delivery: Delivery, attempt: Attempt, durationMs: number, cut: boolean): Settlement {
    const { id, lease, type, channel } = delivery;
    const { status } = attempt;
    const fields = { notificationId: id, type, channel, attempt: delivery.attempt, durationMs, status };
    if (attempt.ok) {
      metrics.delivery(channel, 'sent', durationMs / 1000);
      log.info('notification sent', fields);
      return { id, lease, outcome: 'sent', durationMs, status };
    }
    const { error, retryAfterMs, final } = attempt;
    // What was cut may still be under way somewhere: nobody tries again before its time is over.
    const timeLeftMs = Math.max(0, deliveryTimeoutMs + GRACE_MS - durationMs);
    const delay = cut ? timeLeftMs : final ? 'dead' : retryDelay(delivery.attempt, maxAttempts, retryAfterMs, random());
    const outcome = cut ? 'cut' : delay === 'dead' ? 'dead' : 'retry';
    const delayMs = delay === 'dead' ? 0 : delay;
    metrics.delivery(channel, outcome, durationMs / 1000);
    log.warn(`notification ${outcome}`, { ...fields, reason: error, retryInMs: Math.round(delayMs) });
    return { id, lease, outcome, delayMs, durationMs, status, error };
  }

  function release(deliveries: Delivery[]): void {
    for (const { id, lease } of deliveries) settleLater({ id, lease, outcome: 'release' });
  }

  function settleLater(result: Settlement): void {
    results.push(result);
    if (!flushing) startFlush();
    else if (results.length >= batch / 2 || isAllDelivered()) lingered();
  }

  function startFlush(): void {
    flushing = flush().finally(() => {
      flushing = undefined;
      if (results.length > 0) startFlush();
      step();
    });
  }

  // One settlement at a time: what finishes meanwhile goes together in the next.
  async function flush(): Promise<void> {
    for (let failures = 0; results.length > 0; ) {
      if (!isAllDelivered() && results.length < batch / 2) await linger();
      const some = results.splice(0, batch);
      try {
        const { settled, changes } = await settleDeliveries(db, some, name);
        if (settled < some.length) log.warn('leases lost', { count: some.length - settled });
        for (const { id, status } of changes) log.warn(`webhook endpoint ${status}`, { endpointId: id });
        failures = 0;
        noteRetries(some);
        step();
      } catch (error) {
        log.error('dispatcher cannot settle', { error, count: some.length });
        results.unshift(...some);
        if (stopping && ++failures >= SETTLE_TRIES_AT_STOP) results.length = 0;
        await sleep(SETTLE_RETRY_MS);
      }
    }
  }

  // For more results to settle with, though not for long.
  function linger(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LINGER_MS);
      lingered = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // A retry may be due before the next look at the queue.
  function noteRetries(settled: Settlement[]): void {
    const retries = settled.filter(({ outcome }) => outcome === 'retry');
    if (retries.length === 0) return;
    noteDue(Math.min(...retries.map(({ delayMs = 0 }) => delayMs)));
    if (!stopping) setAlarm();
  }

  function sweep(): void {
    const now = performance.now();
    for (const entry of active) {
      const age = now - entry.startedAt;
      // The channel has a timer of its own, which says what the matter was: this is for one that has a defect.
      if (age > deliveryTimeoutMs + GRACE_MS) {
        log.error('delivery given up on', { notificationId: entry.delivery.id });
        finish(entry, failure('timed out'));
      } else if (entry.inSlot && age > SLOT_MS && active.size - inSlots < beside) {
        entry.inSlot = false;
        inSlots--;
        step();
      }
    }
  }

  async function keepLeases(): Promise<void> {
    const held = [...lanes.all(), ...Array.from(active, ({ delivery }) => delivery)];
    if (held.length === 0) return;
    try {
      const kept = await extendLeases(db, held, leaseMs);
      const lost = new Set(held.filter(({ id }) => !kept.has(id)));
      // Their places are free for others.
      if (lanes.remove((delivery) => lost.has(delivery)).length > 0) wake();
    } catch (error) {
      log.error('dispatcher cannot extend its leases', { error });
    }
  }

  return {
    wake,
    run: work,
    drain: async (most = Number.POSITIVE_INFINITY) => {
      left = most;
      mayBeDue = true;
      untilIdle = true;
      await work();
      return left <= 0 && mayBeDue ? 0 : msUntilNext();
    },
    stop: (force) => {
      stopping = true;
      release(lanes.remove());
      const cut = () => {
        for (const entry of active) finish(entry, failure('cut short by a shutdown'), true);
      };
      if (force.aborted) cut();
      else force.addEventListener('abort', cut, { once: true });
      step();
    },
  };
}

function failure(error: string): Attempt & { ok: false } {
  return { ok: false, status: null, error };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
