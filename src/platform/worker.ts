import type { Limiter } from '../deps.ts';
import type { MemoryLimiter } from './limiter-memory.ts';

/** The environment variable of a worker: its index, their number, and the primary's process id. */
const WORKER = 'KEELSON_WORKER';
/** Milliseconds between checks of whether the primary is alive. */
const PRIMARY_CHECK_MS = 500;
/** Milliseconds between a worker's reports of its rate limits, multiplied by the number of processes. */
const SHARE_MS = 10;

/** A message from the primary. `queue` asks for metrics that are the same in every process. */
export type ToWorker = { scrape: number; queue: boolean } | { taken: Taken };
/** A message from a worker. */
export type FromWorker = { listening: Listening } | { scraped: number; metrics: object[] } | { taken: Taken };
/** Where a worker listens, every scope that its operations require, and the console's sign-in link in development. */
export type Listening = { url: string; scopes: string; signIn: string | undefined };
/** How many requests were counted, by rate-limit key. */
type Taken = [key: string, times: number][];

/** A worker's connection to its primary. */
export type Worker = {
  /** Its index, from 0. A replacement has the same. */
  slot: number;
  /** The number of workers. */
  count: number;
  /** Resolves with the reason to stop when the primary is gone. */
  orphaned: Promise<string>;
  /** Tells the primary that this worker listens. */
  listening(where: Listening): void;
  /** Answers scrapes with the result of `collect`; with `queue`, the database's metrics are included. */
  onScrape(collect: (queue: boolean) => Promise<object[]>): void;
  /** Shares a limiter between processes: each learns the others' counts a moment later. */
  share(limiter: MemoryLimiter): Limiter;
};

export const workerVariable = (slot: number, count: number) => ({ [WORKER]: `${slot}/${count}/${process.pid}` });

/** Returns undefined if this process is the only one. */
export function thisWorker(): Worker | undefined {
  const [slot, count, primary] = (process.env[WORKER] ?? '').split('/').map(Number);
  if (slot === undefined || count === undefined || !process.send) return undefined;
  const send = (message: FromWorker) => {
    // `orphaned` reports that the primary is gone.
    if (process.connected) process.send?.(message, undefined, undefined, () => {});
  };
  const receivers: ((message: ToWorker) => void)[] = [];
  // There is always a listener: without one, the channel is not watched, and its end is not noticed.
  process.on('message', (message: ToWorker) => {
    for (const receive of receivers) receive(message);
  });

  return {
    slot,
    count,
    orphaned: new Promise((resolve) => {
      const gone = () => resolve('the primary is gone');
      process.once('disconnect', gone);
      // Deno does not report the end of a channel while a message is on its way.
      setInterval(() => process.ppid !== primary && gone(), PRIMARY_CHECK_MS).unref();
    }),
    listening: (where) => send({ listening: where }),
    onScrape: (collect) =>
      receivers.push(async (message) => {
        if (!('scrape' in message)) return;
        const metrics = await collect(message.queue).catch(() => undefined);
        if (metrics) send({ scraped: message.scrape, metrics });
      }),
    share: (limiter) => {
      const taken = new Map<string, number>();
      const report = () => {
        send({ taken: [...taken] });
        taken.clear();
      };
      receivers.push((message) => {
        if ('taken' in message) for (const [key, times] of message.taken) limiter.addRemote(key, times);
      });
      return {
        ...limiter,
        take: (key) => {
          if (taken.size === 0) setTimeout(report, SHARE_MS * count);
          taken.set(key, (taken.get(key) ?? 0) + 1);
          return limiter.take(key);
        },
      };
    },
  };
}
