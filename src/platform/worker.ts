import type { Limiter } from '../deps.ts';
import type { MemoryLimiter } from './limiter-memory.ts';

/** What a worker finds in its environment: which one it is, of how many, and the primary's process id. */
const WORKER = 'KEELSON_WORKER';
/** Milliseconds between looks at whether the primary lives. */
const LOOK_MS = 500;
/** Milliseconds between what a worker tells the others of its rate limits, times the number of processes. */
const SHARE_MS = 10;

/** What the primary sends; `queue` asks for what is the same in every process. */
export type ToWorker = { scrape: number; queue: boolean } | { taken: Taken };
/** What a worker sends. */
export type FromWorker = { listening: string } | { scraped: number; metrics: object[] } | { taken: Taken };
/** How often each key of the rate limit was taken from. */
type Taken = [key: string, times: number][];

/** A process of several behind one port, as it sees the one that started it. */
export type Worker = {
  /** Which one it is, from 0; whoever replaces it is the same. */
  slot: number;
  /** Of how many. */
  count: number;
  /** Resolves with the reason to stop when the primary is gone. */
  orphaned: Promise<string>;
  /** Tells the primary that this one listens. */
  listening(url: string): void;
  /** Answers scrapes with what `collect` returns; with `queue`, what belongs to the database is part of it. */
  onScrape(collect: (queue: boolean) => Promise<object[]>): void;
  /** The limiter, as the processes share it: what one takes the others hear of a moment later. */
  share(limiter: MemoryLimiter): Limiter;
};

export const workerVariable = (slot: number, count: number) => ({ [WORKER]: `${slot}/${count}/${process.pid}` });

/** Undefined where this process is the only one. */
export function thisWorker(): Worker | undefined {
  const [slot, count, primary] = (process.env[WORKER] ?? '').split('/').map(Number);
  if (slot === undefined || count === undefined || !process.send) return undefined;
  const send = (message: FromWorker) => {
    // A primary that has gone is told of by `orphaned`.
    if (process.connected) process.send?.(message, undefined, undefined, () => {});
  };
  const hearing: ((message: ToWorker) => void)[] = [];
  // One listener, whatever is heard: without any the channel would not be watched, and its end not noticed.
  process.on('message', (message: ToWorker) => {
    for (const hear of hearing) hear(message);
  });

  return {
    slot,
    count,
    orphaned: new Promise((resolve) => {
      const tell = () => resolve('the primary is gone');
      process.once('disconnect', tell);
      // Deno does not tell of a channel that ends while a message is on its way.
      setInterval(() => process.ppid !== primary && tell(), LOOK_MS).unref();
    }),
    listening: (url) => send({ listening: url }),
    onScrape: (collect) =>
      hearing.push(async (message) => {
        if (!('scrape' in message)) return;
        const metrics = await collect(message.queue).catch(() => undefined);
        if (metrics) send({ scraped: message.scrape, metrics });
      }),
    share: (limiter) => {
      const taken = new Map<string, number>();
      const tell = () => {
        send({ taken: [...taken] });
        taken.clear();
      };
      hearing.push((message) => {
        if ('taken' in message) for (const [key, times] of message.taken) limiter.heard(key, times);
      });
      return {
        ...limiter,
        take: (key) => {
          if (taken.size === 0) setTimeout(tell, SHARE_MS * count);
          taken.set(key, (taken.get(key) ?? 0) + 1);
          return limiter.take(key);
        },
      };
    },
  };
}
