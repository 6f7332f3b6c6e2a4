import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Metrics } from '../deps.ts';
import type { QueueDepth } from '../dispatcher/depth.ts';
import type { OpenDb } from './open-db.ts';

type Sources = {
  pool: OpenDb['stats'];
  /** Undefined if another process reports it. */
  queue: (() => Promise<QueueDepth>) | undefined;
  /** Undefined if this process has no dispatcher. */
  lastClaimAgeMs: (() => number) | undefined;
};

/** The result of prom-client's `getMetricsAsJSON`. */
type Snapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>;

/** Creates this process's Prometheus metrics. Reads `sources` on each scrape. Processes' values add up by default. */
export function createMetrics(): Metrics & {
  expose(sources: Sources): Promise<string>;
  /** The same as objects, for another process to add up. */
  snapshot(sources: Sources): Promise<Snapshot>;
  contentType: string;
} {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Duration of requests by route template.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  const inFlight = new Gauge({ name: 'http_requests_in_flight', help: 'Requests in flight.', registers });
  const pool = new Gauge({
    name: 'db_pool_connections',
    help: 'Connections by state.',
    labelNames: ['state'],
    registers,
  });
  const byStatus = new Gauge({
    name: 'notifications',
    help: 'Notifications by status; beyond 10,000, the number of sent ones is an estimate.',
    labelNames: ['status'],
    aggregator: 'first',
    registers,
  });
  const oldestDue = new Gauge({
    name: 'notifications_oldest_due_age_seconds',
    help: 'Age of the oldest due notification.',
    aggregator: 'first',
    registers,
  });
  const delivery = new Histogram({
    name: 'notification_delivery_duration_seconds',
    help: 'Duration of delivery attempts by channel and outcome.',
    labelNames: ['channel', 'outcome'],
    buckets: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30],
    registers,
  });
  const ticks = new Counter({ name: 'dispatcher_ticks_total', help: 'Claims made.', registers });
  const tickErrors = new Counter({ name: 'dispatcher_tick_errors_total', help: 'Claims that failed.', registers });

  const lastClaim = new Gauge({
    name: 'dispatcher_last_claim_age_seconds',
    help: 'Time since the last successful claim; the maximum over processes.',
    aggregator: 'max',
    registers: [],
  });

  async function read({ pool: connections, lastClaimAgeMs, queue }: Sources): Promise<void> {
    for (const [state, count] of Object.entries(connections())) pool.set({ state }, count);
    if (lastClaimAgeMs) {
      registry.registerMetric(lastClaim);
      lastClaim.set(lastClaimAgeMs() / 1000);
    }
    byStatus.reset();
    oldestDue.remove();
    // While the database is unavailable, its metrics are absent, not stale. The others are still there.
    const depth = await queue?.().catch(() => undefined);
    if (depth) {
      const { oldestDueS, ...counts } = depth;
      for (const [status, count] of Object.entries(counts)) byStatus.set({ status }, count);
      oldestDue.set(oldestDueS);
    }
  }

  return {
    requestStarted: () => inFlight.inc(),
    requestFinished: (method, route, status, seconds) => {
      inFlight.dec();
      duration.observe({ method, route, status }, seconds);
    },
    delivery: (channel, outcome, seconds) => delivery.observe({ channel, outcome }, seconds),
    dispatcherTick: (failed) => {
      ticks.inc();
      if (failed) tickErrors.inc();
    },
    contentType: registry.contentType,
    expose: async (sources) => {
      await read(sources);
      return registry.metrics();
    },
    snapshot: async (sources) => {
      await read(sources);
      return registry.getMetricsAsJSON();
    },
  };
}
