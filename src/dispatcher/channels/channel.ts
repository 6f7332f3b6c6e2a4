import type { Delivery } from '../claims.ts';

/**
 * Delivers one notification once. Never rejects: what goes wrong is a failed attempt, told in `error`, which clients
 * see and which therefore holds nothing internal. Ends in time by itself. A repeat carries the same id.
 */
export type Channel = (delivery: Delivery) => Promise<Attempt>;

/**
 * `status` is the receiver's HTTP status, where there was one. A `final` failure is not retried; a `blameless` one is
 * no fault of the receiver's.
 */
export type Attempt =
  | { ok: true; status: number | null }
  | {
      ok: false;
      status: number | null;
      error: string;
      retryAfterMs?: number | undefined;
      final?: boolean;
      blameless?: boolean;
    };
