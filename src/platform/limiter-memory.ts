import type { Limiter, Quota } from '../deps.ts';
import { fnv1a } from '../fnv1a.ts';

type Window = { count: number; endsAt: number };

/** How many keys of a kind have a count of their own. Further keys share counts. */
const MAX_KEYS = 100_000;
/** How many shared counts there are: a power of two. */
const SHARED = 65_536;
/** How many times per window ended windows are removed. */
const SWEEPS = 4;

export type MemoryLimiter = Limiter & {
  /** Counts requests of `key` that another process admitted. */
  addRemote(key: string, times: number): void;
};

/**
 * Limits by fixed windows in memory: exact for one process, and for several once each has heard from the others. Beyond
 * 100,000 keys, no window is dropped early: new keys share windows, and may be refused because of one another.
 */
export function memoryLimiter(
  limit: number,
  windowS: number,
  now: () => number = () => performance.now(),
): MemoryLimiter {
  // Separate, so that clients without a token cannot crowd out those with one.
  const [addresses, subjects] = [createTable(), createTable()];
  let sweepAt = 0;

  // All at once: deleting the first entry of a large Map again and again gets slower each time.
  function sweep(at: number): void {
    for (const windows of [addresses.own, addresses.shared, subjects.own, subjects.shared]) {
      for (const [key, { endsAt }] of windows) if (endsAt <= at) windows.delete(key);
    }
    sweepAt = at + (windowS * 1000) / SWEEPS;
  }

  function windowOf(key: string): Window {
    const { own, shared } = key.startsWith('address:') ? addresses : subjects;
    const at = now();
    const window = own.get(key);
    if (window && window.endsAt > at) return window;
    if (at >= sweepAt) sweep(at);
    // A key with a shared count keeps it for the window, even if there is room again.
    const among = shared.get(hash(key));
    if (among && among.endsAt > at) return among;
    const opened = { count: 0, endsAt: at + windowS * 1000 };
    if (own.size < MAX_KEYS) own.set(key, opened);
    else shared.set(hash(key), opened);
    return opened;
  }

  const quota = ({ count, endsAt }: Window): Quota => ({
    allowed: count <= limit,
    remaining: Math.max(0, limit - count),
    resetS: (endsAt - now()) / 1000,
  });

  return {
    limit,
    window: windowS,
    take: (key) => {
      const window = windowOf(key);
      window.count++;
      return quota(window);
    },
    addRemote: (key, times) => {
      windowOf(key).count += times;
    },
  };
}

type Table = { own: Map<string, Window>; shared: Map<string, Window> };

const createTable = (): Table => ({ own: new Map(), shared: new Map() });

/** Which of the shared counts a key has. */
function hash(key: string): string {
  const hash = fnv1a(key);
  return String((hash ^ (hash >>> 16)) & (SHARED - 1));
}
