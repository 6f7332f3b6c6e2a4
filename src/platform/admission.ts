import { inTurns } from './in-turns.ts';
import { utilizations } from './utilization.ts';

/** How many requests are under way at least before others wait. */
const LEAST = 64;
/** Milliseconds between two looks at how busy the process is, while requests wait or more are under way than that. */
const LOOK_MS = 5;
/** The utilization from which fewer requests at a time are better, and that below which twice as many may be. */
const BUSY = 0.95;
const IDLE = 0.5;
/** By how much their number changes with a look. */
const FEWER = 0.9;
const MORE = 1.1;

/**
 * Returns a function that begins requests in order, and few at a time while the process is busy. With hundreds of clients,
 * each request that is half done is copied by several garbage collections; one that has not begun costs a tenth of that.
 * While the process has time left more begin with each look, so that nobody waits long for what waits for something else.
 */
export function createAdmission(utilization = utilizations()) {
  let most = LEAST;
  let looking = false;
  const turns = inTurns(() => most);

  function startLooking(): void {
    if (looking) return;
    looking = true;
    // What was before tells nothing.
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
