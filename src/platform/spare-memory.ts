import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_MS = 10_000;
/** Looks that a collection is not repeated for: five minutes. */
const LOOKS_BETWEEN = 30;
/** Bytes beyond what is in use that are left to V8, which may need them again. */
const SPARE_MAX = 64 * 1024 * 1024;
/** Of its time that a process may be at work and still have a moment to stand still, some 400 ms. */
const IDLE_BELOW = 0.05;

const v8 = { unusedBytes, utilization: utilizations(), collect: collectAll };

/**
 * Gives back the memory of a peak once it is over. V8 keeps the pages that it has freed, for ever, unless it runs out of
 * memory: 500 clients that asked for much at once left 200 MiB of them.
 */
export function giveBackSpareMemory({ unusedBytes, utilization, collect } = v8): void {
  let kept = unusedBytes();
  let looks = LOOKS_BETWEEN;
  setInterval(() => {
    looks++;
    const unused = unusedBytes();
    kept = Math.min(kept, unused);
    if (utilization() > IDLE_BELOW || looks < LOOKS_BETWEEN || unused < kept + SPARE_MAX) return;
    collect();
    looks = 0;
    // What is unused all the same is not V8's, and another collection would give back none of it.
    kept = unusedBytes();
  }, EVERY_MS).unref();
}

function unusedBytes(): number {
  const { rss, heapTotal, external } = process.memoryUsage();
  return rss - heapTotal - external;
}

/** Each call returns how much of the time since the last one was work, from 0 to 1. */
function utilizations(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}

/** As V8 does before it would run out of memory. */
function collectAll(): void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as (options: object) => void;
  setFlagsFromString('--no-expose-gc');
  gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
