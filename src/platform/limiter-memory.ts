import type { Limiter, Quota } from '../deps.ts';

type Window = { count: number; endsAt: number };

/** Keys remembered at most; past it the oldest window is forgotten. */
const MAX_KEYS = 100_000;

export type MemoryLimiter = Limiter & {
  /** Counts what another process let `key` take. */
  heard(key: string, times: number): void;
};

/** Fixed windows in this process's memory: exact for one process, and for several as soon as each has heard of the others. */
export function memoryLimiter(
  limit: number,
  windowS: number,
  now: () => number = () => performance.now(),
): MemoryLimiter {
  const windows = new Map<string, Window>();
  let sweepAt = now() + windowS * 1000;

  function windowOf(key: string): Window | undefined {
    const window = windows.get(key);
    return window && window.endsAt > now() ? window : undefined;
  }

  function open(key: string): Window {
    if (now() >= sweepAt) {
      for (const [key, { endsAt }] of windows) if (endsAt <= now()) windows.delete(key);
      sweepAt = now() + windowS * 1000;
    }
    if (windows.size >= MAX_KEYS) windows.delete(windows.keys().next().value as string);
    const window = { count: 0, endsAt: now() + windowS * 1000 };
    windows.delete(key);
    windows.set(key, window);
    return window;
  }

  const quota = ({ count, endsAt }: Window): Quota => ({
    allowed: count <= limit,
    remaining: Math.max(0, limit - count),
    resetS: (endsAt - now()) / 1000,
  });

  return {
    limit,
    window: windowS,
    take: async (key) => {
      const window = windowOf(key) ?? open(key);
      window.count++;
      return quota(window);
    },
    heard: (key, times) => {
      const window = windowOf(key) ?? open(key);
      window.count += times;
    },
  };
}
