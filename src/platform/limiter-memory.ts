import type { Limiter, Quota } from '../deps.ts';

type Window = { count: number; endsAt: number };

/** Keys of a kind that are counted each by itself; what comes beyond them shares counts. */
const MAX_KEYS = 100_000;
/** How many counts they share: a power of two. */
const SHARED = 65_536;
/** How often in a window those that have ended are looked for. */
const SWEEPS = 4;

export type MemoryLimiter = Limiter & {
  /** Counts what another process let `key` take. */
  heard(key: string, times: number): void;
};

/**
 * Fixed windows in this process's memory: exact for one process, and for several as soon as each has heard of the others.
 * Past 100,000 keys no window is forgotten before its time: new keys share some, and may be refused for one another.
 */
export function memoryLimiter(
  limit: number,
  windowS: number,
  now: () => number = () => performance.now(),
): MemoryLimiter {
  // Apart, so that whoever has no token cannot crowd out those who have.
  const [addresses, subjects] = [createTable(), createTable()];
  let sweepAt = 0;

  // All at once: deleting the first of a large Map again and again takes longer each time.
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
    // Whoever was counted there goes on being, so that nobody is freed early when there is room again.
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
    take: async (key) => {
      const window = windowOf(key);
      window.count++;
      return quota(window);
    },
    heard: (key, times) => {
      windowOf(key).count += times;
    },
  };
}

type Table = { own: Map<string, Window>; shared: Map<string, Window> };

const createTable = (): Table => ({ own: new Map(), shared: new Map() });

/** FNV-1a, as many bits as there are shared counts. */
function hash(key: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return String((hash ^ (hash >>> 16)) & (SHARED - 1));
}
