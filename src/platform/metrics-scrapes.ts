import type { ToWorker } from './worker.ts';

/** What workers reported, by process id, and how many did not answer. */
export type Scraped = { answers: Map<number, object[]>; silent: number };
type Scrape = { awaited: Set<number>; answers: Map<number, object[]>; done: () => void };

/** Collects the metrics of workers, which are told apart by their process ids. */
export function createScrapes() {
  const underWay = new Map<number, Scrape>();
  let newestId = 0;
  /** The worker that answered the last scrape first: it is known to be responsive. */
  let fastest: number | undefined;

  function settle(pid: number, { awaited, done }: Scrape): void {
    if (awaited.delete(pid) && awaited.size === 0) done();
  }

  return {
    /** Returns the metrics of each worker that answers within `ms`. Only one reports those that are the same in all. */
    async scrape<W extends { pid: number }>(
      workers: W[],
      send: (worker: W, message: ToWorker) => void,
      ms: number,
    ): Promise<Scraped> {
      const id = ++newestId;
      const answers = new Map<number, object[]>();
      const reporter = workers.find(({ pid }) => pid === fastest) ?? workers[0];
      const { promise, resolve } = Promise.withResolvers<void>();
      underWay.set(id, { awaited: new Set(workers.map(({ pid }) => pid)), answers, done: resolve });
      for (const worker of workers) send(worker, { scrape: id, queue: worker === reporter });
      const limit = setTimeout(resolve, workers.length > 0 ? ms : 0);
      await promise;
      clearTimeout(limit);
      underWay.delete(id);
      fastest = answers.keys().next().value;
      return { answers, silent: workers.length - answers.size };
    },

    /** Takes a worker's answer to a scrape. */
    answered(pid: number, id: number, metrics: object[]): void {
      const scrape = underWay.get(id);
      if (!scrape) return;
      scrape.answers.set(pid, metrics);
      settle(pid, scrape);
    },

    /** Drops the answers of a worker that has exited, and awaits no more of them. */
    exited(pid: number): void {
      for (const scrape of underWay.values()) {
        scrape.answers.delete(pid);
        settle(pid, scrape);
      }
    },
  };
}
