import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const EVERY_MS = 10_000;
/** Bytes beyond what is in use that are left to V8, which may need them again. */
const SPARE_MAX = 64 * 1024 * 1024;
/** Of its time that a process may be at work and still have a moment to collect garbage. */
const IDLE_BELOW = 0.5;

/**
 * Gives back the memory of a peak once it is over. V8 keeps the pages that it has freed, for ever, unless it runs out of
 * memory: 500 clients that asked for much at once left 200 MiB of them.
 */
export function giveBackSpareMemory(): void {
  let kept = unusedBytes();
  let before = performance.eventLoopUtilization();
  setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    if (utilization > IDLE_BELOW || unusedBytes() < kept + SPARE_MAX) return;
    collectAll();
    // What is unused all the same is not V8's, and another collection would give back none of it.
    kept = unusedBytes();
  }, EVERY_MS).unref();
}

function unusedBytes(): number {
  const { rss, heapTotal, external } = process.memoryUsage();
  return rss - heapTotal - external;
}

/** As V8 does before it would run out of memory. */
function collectAll(): void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as (options: object) => void;
  setFlagsFromString('--no-expose-gc');
  gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
