import type { Db } from '../db.ts';
import { type Claimed, claimDeliveries, extendLeases, type Lease } from './claims.ts';
import type { Room } from './rooms.ts';
import { type Settled, type Settlement, settleDeliveries } from './settlements.ts';

/** What a claim asks for: room, and the lane after which it begins to look. */
export type ClaimRequest = Room & { after: string };

/**
 * The queue as a dispatcher sees it, each call one statement. Every call settles in time by itself; one that rejects
 * may have taken effect all the same.
 */
export type Queue = {
  claim(request: ClaimRequest): Promise<Claimed>;
  /** Settles what is still held under its lease, and says how much of it that was. */
  settle(results: Settlement[]): Promise<Settled>;
  /** Extends what is still held, and returns its keys, as `keyOf` makes them. */
  extend(held: readonly Lease[]): Promise<ReadonlySet<string>>;
};

/** How long the dispatcher waits for a statement, in milliseconds. */
const STATEMENT_MS = 3000;

/** The queue in the database. `name` stands in the record of attempts; leases last `leaseMs`. */
export function databaseQueue(db: Db, { name, leaseMs }: { name: string; leaseMs: number }): Queue {
  const limit = () => AbortSignal.timeout(STATEMENT_MS);
  return {
    claim: (request) => claimDeliveries(db, { ...request, leaseMs, lease: crypto.randomUUID() }, limit()),
    settle: (results) => settleDeliveries(db, results, name, limit()),
    extend: (held) => extendLeases(db, held, leaseMs, limit()),
  };
}
