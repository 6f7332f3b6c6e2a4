import { inTurns } from './in-turns.ts';
import { utilizations } from './utilization.ts';

/** The minimum number of requests that may be under way before others wait. */
const LEAST = 64;
/** Milliseconds between checks of how busy the process is, while requests wait or more than `LEAST` are under way. */
const LOOK_MS = 5;
/** The utilization above which fewer requests may be under way, and the one below which twice as many may be. */
const BUSY = 0.95;
const IDLE = 0.5;
/** The factors by which that number changes at each check. */
const FEWER = 0.9;
const MORE = 1.1;

/**
 * Returns a function that starts requests in order, and few at a time while the process is busy. With hundreds of
 * clients, several garbage collections copy each half-done request; one that has not started costs a tenth of that.
 * While the process has time to spare, each check lets more requests start, so that none waits long for requests that
 * are themselves waiting for something else.
 */
export function createAdmission(utilization = utilizations()) {
  let most = LEAST;
  let looking = false;
  const turns = inTurns(() => most);

  function startLooking(): void {
    if (looking) return;
    looking = true;
    // The time before this says nothing.
    utilization();
    setTimeout(look, LOOK_MS);
  }

  function look(): void {
    const busy = utilization();
    if (busy > BUSY) most = Math.max(LEAST, most * FEWER);
    else if (turns.waiting() > 0) most *= busy < IDLE ? 2 : MORE;
    turns.beginWaiting();
    looking = turns.waiting() > 0 || turns.running() > LEAST;
    if (looking) setTimeout(look, LOOK_MS);
  }

  return <T>(work: () => Promise<T> | T): Promise<T> => {
    if (turns.running() >= LEAST) startLooking();
    return turns.run(work);
  };
}
