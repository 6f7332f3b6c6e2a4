import type { Db } from '../db.ts';
import { type Claimed, type ClaimRequest, claimDeliveries, extendLeases, type Lease } from './claims.ts';
import { type Advance, advanceJob } from './jobs.ts';
import { type Settled, type Settlement, settleDeliveries } from './settlements.ts';

/**
 * The queue as the dispatcher sees it. Each call is one statement with a time limit. A call that rejects may have taken
 * effect.
 */
export type Queue = {
  claim(request: ClaimRequest): Promise<Claimed>;
  /** Settles results whose leases are still held. `now` is the dispatcher's time. */
  settle(results: Settlement[], now: number): Promise<Settled>;
  /** Extends leases that are still held, and returns their keys (see `keyOf`). */
  extend(held: readonly Lease[]): Promise<ReadonlySet<string>>;
  /** Does the next batch of a running bulk action that is not locked. Undefined if there is none. */
  advance(): Promise<Advance | undefined>;
};

/** Milliseconds that a statement may take. */
export const STATEMENT_MS = 3000;

type Named = { name: string; leaseMs: number; everyMs: number };

/**
 * Creates the port to the queue in the database. `name` is recorded with each attempt; leases last `leaseMs`. The next
 * claim follows within `everyMs`, unless the dispatcher is gone.
 */
export function databaseQueue(db: Db, { name, leaseMs, everyMs }: Named): Queue {
  const limit = () => AbortSignal.timeout(STATEMENT_MS);
  return {
    claim: (request) =>
      claimDeliveries(db, { ...request, name, everyMs, leaseMs, lease: crypto.randomUUID() }, limit()),
    settle: (results, now) => settleDeliveries(db, results, { dispatcher: name, now }, limit()),
    extend: (held) => extendLeases(db, held, leaseMs, limit()),
    advance: () => advanceJob(db, limit()),
  };
}
