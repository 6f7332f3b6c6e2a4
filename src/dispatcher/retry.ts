const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Milliseconds from each failed attempt to the next: the schedule of Standard Webhooks 1.0.0. */
const SCHEDULE = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];

/** Milliseconds at which a Retry-After is capped. */
const MAX_RETRY_AFTER = 24 * HOUR;

/**
 * Returns the delay in milliseconds after failed attempt number `attempt` (from 1), or `dead` if it was the last.
 * `random` (0 to 1) spreads the delay by ±20 %. `retryAfterMs` is a minimum, capped at 24 hours.
 */
export function retryDelay(
  attempt: number,
  maxAttempts: number,
  retryAfterMs: number | undefined,
  random: number,
): number | 'dead' {
  if (attempt >= maxAttempts) return 'dead';
  const base = SCHEDULE[Math.min(attempt, SCHEDULE.length) - 1] as number;
  return Math.max(base * (0.8 + 0.4 * random), Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER));
}

/** Parses a Retry-After header (seconds or an HTTP date) into milliseconds. Returns undefined if it is neither. */
export function retryAfterMs(header: string | null | undefined, now: number): number | undefined {
  if (!header) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * SECOND;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
