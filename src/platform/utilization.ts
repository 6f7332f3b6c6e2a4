import { performance } from 'node:perf_hooks';

/** Returns a function that returns the event loop's utilization since its last call, from 0 to 1. */
export function utilizations(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}
