import type { Db } from '../db.ts';
import type { Log, Metrics } from '../deps.ts';
import type { Attempt, Channel } from './channels/channel.ts';
import { createLanes } from './lanes.ts';
import { claimDeliveries, type Delivery, extendLeases, type Settlement, settleDeliveries } from './queue.ts';
import { retryDelay } from './retry.ts';

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

type Active = { delivery: Delivery; abort: AbortController; startedAt: number; inSlot: boolean };

/** How long a delivery may keep one of the `concurrency` slots; a slower one goes on beside them. */
const SLOT_MS = 1000;
const SWEEP_MS = 100;
/** How long after its time a channel may still end by itself. */
const GRACE_MS = 500;
/** How long results may wait for more, so that they settle together. */
const LINGER_MS = 20;
const SETTLE_RETRY_MS = 500;
const SETTLE_TRIES_AT_STOP = 3;

/** Claims, delivers, settles. Holds at most two batches, and has at most twice `concurrency` under way. */
export function createDispatcher({ db, channels, log, metrics, random, name, settings }: DispatchDeps): Dispatcher {
  const { intervalMs, batch, concurrency, beside = concurrency, leaseMs, maxAttempts, deliveryTimeoutMs } = settings;
  const lanes = createLanes({ concurrency, batch, leaseMs });
  const active = new Map<string, Active>();
  const results: Settlement[] = [];
  let inSlots = 0;
  /** How many more may be claimed. */
  let left = Number.POSITIVE_INFINITY;
  let mayBeDue = true;
  let nextAt: number | null = null;
  let claiming: Promise<void> | undefined;
  let flushing: Promise<void> | undefined;
  let stopping = false;
  let ring = () => {};
  let bell = newBell();
  let alarm: ReturnType<typeof setTimeout> | undefined;

  function newBell(): Promise<void> {
    return new Promise((resolve) => {
      ring = resolve;
    });
  }

  function wake(): void {
    mayBeDue = true;
    ring();
  }

  async function loop(untilIdle: boolean): Promise<void> {
    const sweeper = setInterval(sweep, SWEEP_MS);
    const keeper = setInterval(keepLeases, leaseMs / 3);
    try {
      while (!stopping) {
        bell = newBell();
        if (mayClaim()) startClaim();
        startWaiting();
        if (untilIdle && (!mayBeDue || left <= 0) && isIdle()) return;
        await bell;
      }
      release(lanes.remove());
      while (!isIdle()) {
        bell = newBell();
        await bell;
      }
    } finally {
      clearInterval(sweeper);
      clearInterval(keeper);
      if (alarm !== undefined) clearTimeout(alarm);
    }
  }

  // Refilled when half empty: claims are worth their round trip, and no more is held than half a lease can start.
  function roomFor(): number {
    const most = Math.min(batch, lanes.startable());
    return lanes.waiting() <= most / 2 ? Math.min(left, most - lanes.waiting()) : 0;
  }

  function mayClaim(): boolean {
    return mayBeDue && !claiming && results.length <= batch && roomFor() > 0;
  }

  function isIdle(): boolean {
    return lanes.waiting() + active.size + results.length === 0 && !claiming && !flushing;
  }

  // Not awaited by the loop: what is held goes on meanwhile.
  function startClaim(): void {
    claiming = claimSome().finally(() => {
      claiming = undefined;
      ring();
    });
  }

  async function claimSome(): Promise<void> {
    const limit = roomFor();
    mayBeDue = false;
    try {
      nextAt = null;
      const lease = crypto.randomUUID();
      const free = lanes.free();
      const claimed = await claimDeliveries(db, { limit, leaseMs, lease, cap: lanes.cap, free });
      left -= claimed.deliveries.length;
      // A retry noted meanwhile may be later than what the claim saw of the queue.
      if (claimed.nextMs !== null) noteDue(claimed.nextMs);
      if (stopping) release(claimed.deliveries);
      else for (const delivery of claimed.deliveries) lanes.add(delivery);
      if (claimed.postponed || claimed.deliveries.length === limit || lanes.anyFilled(claimed.deliveries, free))
        mayBeDue = true;
      metrics.dispatcherTick(false);
    } catch (error) {
      metrics.dispatcherTick(true);
      log.error('dispatcher cannot claim', { error });
    }
    if (!stopping) setAlarm();
  }

  function setAlarm(): void {
    if (alarm !== undefined) clearTimeout(alarm);
    alarm = setTimeout(wake, Math.min(intervalMs, Math.max(1, msUntilNext() ?? intervalMs)));
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
      void start(delivery);
    }
  }

  async function start(delivery: Delivery): Promise<void> {
    const entry: Active = { delivery, abort: new AbortController(), startedAt: performance.now(), inSlot: true };
    active.set(delivery.id, entry);
    inSlots++;
    const attempt = await attemptOnce(delivery, entry.abort.signal);
    const durationMs = Math.round(performance.now() - entry.startedAt);
    active.delete(delivery.id);
    if (entry.inSlot) inSlots--;
    if (lanes.finish(delivery, durationMs)) mayBeDue = true;
    settleLater(settlementOf(delivery, attempt, durationMs, stopping && entry.abort.signal.aborted));
    startWaiting();
    ring();
  }

  async function attemptOnce(delivery: Delivery, signal: AbortSignal): Promise<Attempt> {
    if (delivery.attempt > maxAttempts) {
      return { ok: false, status: null, error: 'the last attempts never finished', final: true };
    }
    try {
      return await channels[delivery.channel](delivery, signal);
    } catch (error) {
      log.error('delivery failed unexpectedly', { notificationId: delivery.id, error });
      return { ok: false, status: null, error: 'internal error' };
    }
  }

  // What a shutdown cut short is due again at once, somewhere else: that was no failure of the receiver's.
  function settlementOf(delivery: Delivery, attempt: Attempt, durationMs: number, cut: boolean): Settlement {
    const { id, lease, type, channel } = delivery;
    const delay =
      attempt.ok || (cut && !attempt.final)
        ? 0
        : attempt.final
          ? 'dead'
          : retryDelay(delivery.attempt, maxAttempts, attempt.retryAfterMs, random());
    const outcome = attempt.ok ? 'sent' : delay === 'dead' ? 'dead' : 'retry';
    const delayMs = delay === 'dead' ? 0 : delay;
    const error = attempt.ok ? null : attempt.error;
    metrics.delivery(channel, outcome, durationMs / 1000);
    const fields = { notificationId: id, type, channel, attempt: delivery.attempt, durationMs, status: attempt.status };
    if (attempt.ok) log.info('notification sent', fields);
    else log.warn(`notification ${outcome}`, { ...fields, reason: error, retryInMs: Math.round(delayMs) });
    return { id, lease, outcome, delayMs, durationMs, status: attempt.status, error };
  }

  function release(deliveries: Delivery[]): void {
    for (const { id, lease } of deliveries) {
      settleLater({ id, lease, outcome: 'release', delayMs: 0, durationMs: 0, status: null, error: null });
    }
  }

  function settleLater(result: Settlement): void {
    results.push(result);
    if (!flushing) startFlush();
  }

  function startFlush(): void {
    flushing = flush().finally(() => {
      flushing = undefined;
      if (results.length > 0) startFlush();
      ring();
    });
  }

  // One settlement at a time: what finishes meanwhile goes together in the next.
  async function flush(): Promise<void> {
    for (let failures = 0; results.length > 0; ) {
      if (active.size > 0 && results.length < batch / 2) await sleep(LINGER_MS);
      const some = results.splice(0, batch);
      try {
        const { settled, changes } = await settleDeliveries(db, some, name);
        if (settled < some.length) log.warn('leases lost', { count: some.length - settled });
        for (const { id, status } of changes) log.warn(`webhook endpoint ${status}`, { endpointId: id });
        failures = 0;
        noteRetries(some);
        ring();
      } catch (error) {
        log.error('dispatcher cannot settle', { error, count: some.length });
        results.unshift(...some);
        if (stopping && ++failures >= SETTLE_TRIES_AT_STOP) results.length = 0;
        await sleep(SETTLE_RETRY_MS);
      }
    }
  }

  // A retry may be due before the next look at the queue.
  function noteRetries(settled: Settlement[]): void {
    const delays = settled.filter(({ outcome }) => outcome === 'retry').map(({ delayMs }) => delayMs);
    if (delays.length === 0) return;
    noteDue(Math.min(...delays));
    if (!stopping) setAlarm();
  }

  function sweep(): void {
    const now = performance.now();
    for (const entry of active.values()) {
      const age = now - entry.startedAt;
      // The channel has a timer of its own, which says what the matter was: this one is for a channel that does not end.
      if (age > deliveryTimeoutMs + GRACE_MS) entry.abort.abort(new Error(`no answer within ${deliveryTimeoutMs} ms`));
      if (entry.inSlot && age > SLOT_MS && active.size - inSlots < beside) {
        entry.inSlot = false;
        inSlots--;
        ring();
      }
    }
  }

  async function keepLeases(): Promise<void> {
    const held = [...lanes.all(), ...Array.from(active.values(), (entry) => entry.delivery)];
    if (held.length === 0) return;
    try {
      const kept = await extendLeases(db, held, leaseMs);
      const lost = new Set(held.filter(({ id }) => !kept.has(id)));
      lanes.remove((delivery) => lost.has(delivery));
    } catch (error) {
      log.error('dispatcher cannot extend its leases', { error });
    }
  }

  return {
    wake,
    run: () => loop(false),
    drain: async (most = Number.POSITIVE_INFINITY) => {
      left = most;
      mayBeDue = true;
      await loop(true);
      return left <= 0 && mayBeDue ? 0 : msUntilNext();
    },
    stop: (force) => {
      stopping = true;
      wake();
      const cut = () => {
        for (const { abort } of active.values()) abort.abort(new Error('cut short by a shutdown'));
      };
      if (force.aborted) cut();
      else force.addEventListener('abort', cut, { once: true });
    },
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
