import { canceled } from '../db.ts';

/**
 * Runs at most `limit()` tasks at a time. Others wait their turn, in order, and reject like a canceled statement if
 * their signal aborts first.
 */
export function createSemaphore(limit: () => number) {
  /** How many times `forgetOld` was called, and how many of the tasks that run began since its last two calls. */
  let calls = 0;
  let begun = 0;
  let begunBefore = 0;
  const running = () => begun + begunBefore;
  const waiting = new Set<() => void>();

  /** Starts waiting tasks, as far as the limit allows. Call this when the limit has grown. */
  function startWaiting(): void {
    for (const begin of waiting) {
      if (running() >= limit()) return;
      waiting.delete(begin);
      begun++;
      begin();
    }
  }

  /** Stops counting tasks that were already running at the previous call. */
  function forgetOld(): void {
    calls++;
    begunBefore = begun;
    begun = 0;
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
    if (waiting.size === 0 && running() < limit()) begun++;
    else await turn(signal);
    const begunAt = calls;
    try {
      return await work();
    } finally {
      if (begunAt === calls) begun--;
      else if (begunAt === calls - 1) begunBefore--;
      if (waiting.size > 0) startWaiting();
    }
  }

  return { run, startWaiting, forgetOld, running, waiting: () => waiting.size };
}
