import type { AttemptSpan } from '../../tracing.ts';
import type { Delivery } from '../claims.ts';

/**
 * Makes one attempt to deliver a notification, within its own time limit. A failed attempt resolves with an `error`,
 * which clients see: it must not contain anything internal. A retry has the same id. Rejects only for a defect. Its
 * requests are part of the attempt's `span`, if traces are recorded.
 */
export type Channel = (delivery: Delivery, span?: AttemptSpan) => Promise<Attempt>;

/**
 * `status` is the receiver's HTTP status, if there was a response. A `final` failure is not retried. A `blameless` one
 * does not count against the endpoint.
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
