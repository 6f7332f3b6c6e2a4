import { canceled } from '../db.ts';

/**
 * Runs at most `limit` works at a time. Others wait for their turn, in order, and reject as a canceled statement if a
 * signal of theirs aborts before.
 */
export function inTurns(limit: number) {
  let running = 0;
  const waiting = new Set<() => void>();

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

  return async <T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    if (running < limit) running++;
    else await turn(signal);
    try {
      return await work();
    } finally {
      // Whoever waits longest takes the place.
      const [next] = waiting;
      if (next) {
        waiting.delete(next);
        next();
      } else running--;
    }
  };
}
