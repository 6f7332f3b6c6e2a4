import { INTERRUPTED } from '../outbox/schema.ts';
import type { Attempt } from './channels/channel.ts';
import type { Delivery } from './claims.ts';
import { retryDelay } from './retry.ts';
import type { Settlement } from './settlements.ts';

type Measured = { durationMs: number; maxAttempts: number; random: number };

/** Turns an attempt into a settlement: sent, due again on schedule, or dead. */
export function settlementOf(
  { id, lease, attempt: number, endpoint }: Delivery,
  attempt: Attempt,
  { durationMs, maxAttempts, random }: Measured,
): Settlement {
  const { status } = attempt;
  if (attempt.ok) return { id, lease, outcome: 'sent', durationMs, status };
  const { error, blameless = false } = attempt;
  const delay = attempt.final ? 'dead' : retryDelay(number, maxAttempts, attempt.retryAfterMs, random);
  const counts = blameless ? { blameless: true as const } : { url: endpoint?.url };
  const failure = { id, lease, durationMs, status, error, ...counts };
  return delay === 'dead' ? { ...failure, outcome: 'dead' } : { ...failure, outcome: 'retry', delayMs: delay };
}

/**
 * Settles a delivery that a shutdown interrupts. The attempt does not count. The delivery is due again after `delayMs`,
 * because the request may still be under way until then.
 */
export function interruptionOf({ id, lease }: Delivery, durationMs: number, delayMs: number): Settlement {
  const error = INTERRUPTED;
  return { id, lease, outcome: 'interrupted', delayMs: Math.max(0, delayMs), durationMs, status: null, error };
}

/** Settles a delivery that was claimed and not started: it is due again at once. */
export const releaseOf = ({ id, lease }: Delivery): Settlement => ({ id, lease, outcome: 'release' });
