import { queryObjects } from 'node:v8';
import { utilizations } from './utilization.ts';

const EVERY_MS = 10_000;
/** How many checks to skip after a collection: five minutes. */
const CHECKS_BETWEEN = 30;
/** Unused bytes that V8 may keep. */
const SPARE_MAX = 64 * 1024 * 1024;
/** The utilization up to which a process can afford a pause of about 400 ms. */
const IDLE_BELOW = 0.05;

const v8 = { unusedBytes, utilization: utilizations(), collect: collectAll };

/**
 * Returns memory to the system after the start and after a peak. V8 keeps freed pages for ever, unless it runs out of
 * memory: a start leaves 20 MiB, 500 clients with large responses left 200 MiB.
 */
export function keepReleasingSpareMemory({ unusedBytes, utilization, collect } = v8): void {
  let isStart = true;
  let kept = 0;
  let checks = 0;
  setInterval(() => {
    checks++;
    const unused = unusedBytes();
    kept = Math.min(kept, unused);
    if (utilization() > IDLE_BELOW) return;
    if (!isStart && (checks < CHECKS_BETWEEN || unused < kept + SPARE_MAX)) return;
    collect();
    // After the start's collection, a peak does not wait.
    checks = isStart ? CHECKS_BETWEEN : 0;
    isStart = false;
    // Memory that is still unused is not V8's: another collection would not return it.
    kept = unusedBytes();
  }, EVERY_MS).unref();
}

function unusedBytes(): number {
  const { rss, heapTotal, external } = process.memoryUsage();
  return rss - heapTotal - external;
}

/** Collects garbage as V8 does before it runs out of memory. Exported for tests. */
export function collectAll(): void {
  const { emitWarning } = process;
  // Counting objects is experimental, and warns of it.
  process.emitWarning = () => {};
  // It collects first. The function `gc` would do no more, but with it, all code is slower for good: 10 % of a GET.
  queryObjects(class {}, { format: 'count' });
  process.emitWarning = emitWarning;
}
