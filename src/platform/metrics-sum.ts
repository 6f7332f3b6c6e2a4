import { AggregatorRegistry, Counter, Gauge, Registry } from 'prom-client';
import type { Scraped } from './metrics-scrapes.ts';

type Metrics = { name: string; type: unknown }[];

/** Whether a metric can only grow. */
const isMonotonic = ({ type }: { type: unknown }) => type === 'counter' || type === 'histogram';

/**
 * Adds up the metrics of several processes. Counters never fall: the last values of a process count while it does not
 * answer, and after it is gone.
 */
export function createMetricsSum() {
  const own = new Registry();
  const registers = [own];
  const processes = new Gauge({
    name: 'worker_processes',
    help: 'Worker processes that listen, by whether they answered this scrape.',
    labelNames: ['state'],
    registers,
  });
  const deaths = new Counter({ name: 'worker_deaths_total', help: 'Worker processes that died.', registers });
  const startedAt = Date.now() / 1000 - process.uptime();
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'Start time of the first process since unix epoch in seconds.',
    registers,
  }).set(startedAt);
  const last = new Map<number, Metrics>();
  let exited: Metrics[] = [];

  return {
    contentType: own.contentType,
    /** Keeps the last counters of the process `pid`, which died. */
    died: (pid: number): void => {
      deaths.inc();
      const monotonic = last.get(pid)?.filter(isMonotonic) ?? [];
      last.delete(pid);
      exited = [AggregatorRegistry.aggregate([...exited, monotonic]).getMetricsAsArray()];
    },
    expose: async ({ answers, silent }: Scraped): Promise<string> => {
      for (const [pid, metrics] of answers) last.set(pid, metrics as Metrics);
      processes.set({ state: 'answering' }, answers.size);
      processes.set({ state: 'silent' }, silent);
      const before = [...last].filter(([pid]) => !answers.has(pid)).map(([, metrics]) => metrics.filter(isMonotonic));
      const sum = AggregatorRegistry.aggregate([...answers.values(), ...before, ...exited]);
      return `${await sum.metrics()}\n${await own.metrics()}`;
    },
  };
}
