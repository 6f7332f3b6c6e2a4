import { canceled } from '../db.ts';

/**
 * Runs at most `limit()` tasks at a time, not counting those that `forgetOld` dropped. Others wait their turn, in order,
 * and reject like a canceled statement if their signal aborts first.
 */
export function createSemaphore(limit: () => number) {
  /** Counts calls of `forgetOld`. Tasks are counted by the period in which they began: this one, or the one before. */
  let period = 0;
  let begun = 0;
  let begunBefore = 0;
  const running = () => begun + begunBefore;
  const waiting = new Set<() => void>();

  /** Starts waiting tasks, as far as the limit allows. Call this when the limit has grown, and after `forgetOld`. */
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
    period++;
    begunBefore = begun;
    begun = 0;
  }

  /** Resolves with the period in which the task begins. */
  function turn(signal?: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve(period);
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
    let own = period;
    if (waiting.size === 0 && running() < limit()) begun++;
    else own = await turn(signal);
    try {
      return await work();
    } finally {
      if (own === period) begun--;
      else if (own === period - 1) begunBefore--;
      if (waiting.size > 0) startWaiting();
    }
  }

  return { run, startWaiting, forgetOld, running, waiting: () => waiting.size };
}
