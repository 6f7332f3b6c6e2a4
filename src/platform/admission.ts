import { createSemaphore } from './semaphore.ts';
import { utilizations } from './utilization.ts';

/** The minimum number of requests that may be under way before others wait. */
const MIN_CONCURRENCY = 64;
/** Milliseconds between checks of how busy the process is, while requests wait or more than the minimum run. */
const ADJUST_INTERVAL_MS = 5;
/**
 * Every so many checks, requests that were under way at the last such check stop counting. That is 100 ms or longer: a
 * busy process checks once per turn of the event loop, and a request that waits only for the process takes a few turns.
 */
const CHECKS_UNTIL_OLD = 20;
/** The utilization above which fewer requests may be under way, and the one below which twice as many may be. */
const HIGH_UTILIZATION = 0.95;
const LOW_UTILIZATION = 0.5;
/** The factors by which that number changes at each check. */
const DECREASE_FACTOR = 0.9;
const INCREASE_FACTOR = 1.1;

/**
 * Returns a function that starts requests in order, and few at a time while the process is busy. With hundreds of
 * clients, several garbage collections copy each half-done request; one that has not started costs a tenth of that.
 * While the process has time to spare, each check lets more requests start, so that none waits long for requests that
 * are themselves waiting for something else. Those that have taken 100 to 200 ms, or more turns, no longer count.
 */
export function createAdmission(utilization = utilizations()) {
  let limit = MIN_CONCURRENCY;
  let adjusting = false;
  let checks = 0;
  const semaphore = createSemaphore(() => limit);

  function startAdjusting(): void {
    if (adjusting) return;
    adjusting = true;
    // The time before this says nothing.
    utilization();
    setTimeout(adjust, ADJUST_INTERVAL_MS);
  }

  function adjust(): void {
    const busy = utilization();
    if (busy > HIGH_UTILIZATION) limit = Math.max(MIN_CONCURRENCY, limit * DECREASE_FACTOR);
    else if (semaphore.waiting() > 0) limit *= busy < LOW_UTILIZATION ? 2 : INCREASE_FACTOR;
    if (++checks % CHECKS_UNTIL_OLD === 0) semaphore.forgetOld();
    semaphore.startWaiting();
    adjusting = semaphore.waiting() > 0 || semaphore.running() > MIN_CONCURRENCY;
    if (adjusting) setTimeout(adjust, ADJUST_INTERVAL_MS);
    else limit = MIN_CONCURRENCY;
  }

  return <T>(work: () => Promise<T> | T): Promise<T> => {
    if (semaphore.running() >= MIN_CONCURRENCY) startAdjusting();
    return semaphore.run(work);
  };
}
