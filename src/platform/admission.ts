/** How many requests may be under way that began less than `YOUNG_MS` ago. */
const AT_ONCE = 64;
/** Milliseconds after which a request is not counted any more: others must not wait for what it waits for. */
const YOUNG_MS = 20;

/** Requests that began in the same `YOUNG_MS`. */
type Cohort = { running: number };

/**
 * Returns a function that begins requests a few at a time, in order. With hundreds of clients, each request that is half
 * done is copied by several garbage collections; one that has not begun costs a tenth of that.
 */
export function createAdmission({ atOnce = AT_ONCE, youngMs = YOUNG_MS } = {}) {
  const waiting: ((cohort: Cohort) => void)[] = [];
  let cohort: Cohort = { running: 0 };
  let renewing = false;

  function begin(): Cohort {
    cohort.running++;
    return cohort;
  }

  function beginWaiting(): void {
    while (waiting.length > 0 && cohort.running < atOnce) waiting.shift()?.(begin());
  }

  function turn(): Promise<Cohort> {
    if (!renewing) setTimeout(renew, youngMs);
    renewing = true;
    return new Promise((resolve) => waiting.push(resolve));
  }

  function renew(): void {
    cohort = { running: 0 };
    beginWaiting();
    renewing = waiting.length > 0;
    if (renewing) setTimeout(renew, youngMs);
  }

  return async <T>(work: () => Promise<T> | T): Promise<T> => {
    const own = waiting.length === 0 && cohort.running < atOnce ? begin() : await turn();
    try {
      return await work();
    } finally {
      own.running--;
      if (own === cohort) beginWaiting();
    }
  };
}
