import { canceled } from '../db.ts';

/**
 * Runs at most `limit()` tasks at a time. Others wait their turn, in order, and reject like a canceled statement if
 * their signal aborts first.
 */
export function createSemaphore(limit: () => number) {
  let running = 0;
  const waiting = new Set<() => void>();

  /** Starts waiting tasks, as far as the limit allows. Call this when the limit has grown. */
  function startWaiting(): void {
    for (const begin of waiting) {
      if (running >= limit()) return;
      waiting.delete(begin);
      running++;
      begin();
    }
  }

  function turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const onAbort = () => {
        waiting.delete(begin);
        reject(canceled());
      };
      if (signal?.aborted) return onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      waiting.add(begin);
    });
  }

  async function run<T>(work: () => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    if (waiting.size === 0 && running < limit()) running++;
    else await turn(signal);
    try {
      return await work();
    } finally {
      running--;
      if (waiting.size > 0) startWaiting();
    }
  }

  return { run, startWaiting, running: () => running, waiting: () => waiting.size };
}
