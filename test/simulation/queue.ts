import {
  type Claimed,
  type ClaimRequest,
  type Delivery,
  keyOf,
  type Lease,
  SHARED,
} from '../../src/dispatcher/claims.ts';
import type { Clock } from '../../src/dispatcher/clock.ts';
import { EMAIL_LANE } from '../../src/dispatcher/lanes.ts';
import type { Settled, Settlement } from '../../src/dispatcher/settlements.ts';

export type Row = {
  id: string;
  endpointId: string | null;
  dueAt: number;
  lease: string | null;
  attempt: number;
};
type Outcome = { status: 'sent' | 'dead'; attempts: number };
type Endpoint = { failures: number; pausedUntil: number };

const PAUSE_AFTER = 10;
const PAUSE_MS = 30_000;
const BODY_BYTES = 2;

/** What the database holds, and what its statements do to it, as in the SQL of `claims.ts` and `settlements.ts`. */
export type Store = {
  rows: Map<string, Row>;
  outcomes: Map<string, Outcome>;
  endpoints: Map<string, Endpoint>;
  enqueue(id: string, endpointId: string | null): void;
  claim(request: ClaimRequest & { leaseMs: number }): Claimed;
  settle(results: readonly Settlement[]): Settled;
  extend(held: readonly Lease[], leaseMs: number): ReadonlySet<string>;
};

export const laneOf = ({ endpointId }: Pick<Row, 'endpointId'>) => endpointId ?? EMAIL_LANE;

/** `looks` is how many lanes a claim may visit. */
export function createStore({ now }: Pick<Clock, 'now'>, looks: number): Store {
  const rows = new Map<string, Row>();
  const outcomes = new Map<string, Outcome>();
  const endpoints = new Map<string, Endpoint>();
  let leases = 0;

  const isPaused = (lane: string) => (endpoints.get(lane)?.pausedUntil ?? 0) > now();

  function claim({
    limit,
    maxBytes,
    rooms,
    slow,
    unnamed,
    after,
    until,
    leaseMs,
  }: ClaimRequest & { leaseMs: number }): Claimed {
    const lease = `lease-${++leases}`;
    const byLane = Map.groupBy(rows.values(), laneOf);
    const around = [...byLane.keys()].sort();
    const onward = around.filter((lane) => lane > after);
    const visited =
      until <= after ? [...onward, ...around.filter((lane) => lane <= until)] : onward.filter((lane) => lane <= until);
    const result: Claimed = {
      deliveries: [],
      more: [],
      moreUnnamed: false,
      unfinished: false,
      unvisited: false,
      cursor: after,
      nextMs: null,
      jobs: false,
    };
    const times: { lane: string; at: number }[] = [];
    const found: { row: Row; nth: number; look: number; room: number; named: boolean }[] = [];
    let open = 0;
    let passed = 0;
    let shared = 0;
    for (const [look, lane] of visited.entries()) {
      if (open >= limit || look >= looks) break;
      result.cursor = lane;
      const all = (byLane.get(lane) as Row[]).sort((a, b) => a.dueAt - b.dueAt);
      const due = all.filter(({ dueAt }) => dueAt <= now());
      const later = all.filter(({ dueAt, lease }) => dueAt > now() && lease === null);
      times.push(...later.map(({ dueAt }) => ({ lane, at: dueAt })));
      if (due.length === 0) continue;
      if (isPaused(lane)) {
        times.push({ lane, at: endpoints.get(lane)?.pausedUntil as number });
        continue;
      }
      const known = rooms[lane];
      const named = known !== undefined;
      const room = known === SHARED ? Number(shared < slow) : (known ?? Number(passed < unnamed));
      if (room > 0) open++;
      if (!named) passed++;
      if (known === SHARED) shared++;
      found.push(...due.slice(0, room + 1).map((row, i) => ({ row, nth: i + 1, look, room, named })));
    }
    found.sort((a, b) => a.nth - b.nth || a.look - b.look);
    const left = new Set<string>();
    const leftOver = new Set<string>();
    let bytes = 0;
    let served: { look: number; row: Row } | undefined;
    let unserved = false;
    for (const { row, nth, look, room, named } of found) {
      const first = result.deliveries.length === 0;
      const fits = nth <= room && result.deliveries.length < limit && (bytes + BODY_BYTES <= maxBytes || first);
      if (fits) {
        bytes += BODY_BYTES;
        if (!served || look > served.look) served = { look, row };
      } else {
        unserved ||= nth === 1 && room > 0;
        leftOver.add(laneOf(row));
        if (named) left.add(laneOf(row));
        else result.moreUnnamed = true;
        continue;
      }
      row.lease = lease;
      row.dueAt = now() + leaseMs;
      row.attempt++;
      result.deliveries.push(deliveryOf(row, lease));
    }
    if (served && unserved) result.cursor = laneOf(served.row);
    result.more = [...left];
    result.unfinished = open >= limit;
    result.unvisited = !result.unfinished && visited.length >= looks;
    const next = times.filter(({ lane }) => !leftOver.has(lane)).map(({ at }) => at);
    if (!result.unfinished && next.length > 0) result.nextMs = Math.min(...next) - now();
    return result;
  }

  function settle(results: readonly Settlement[]): Settled {
    let settled = 0;
    const changes: Settled['changes'] = [];
    for (const { id, lease, outcome, delayMs = 0, blameless } of results) {
      const row = rows.get(id);
      if (!row || row.lease !== lease) continue;
      settled++;
      const endpoint = row.endpointId ? endpoints.get(row.endpointId) : undefined;
      if (outcome === 'sent' || outcome === 'dead') {
        rows.delete(id);
        outcomes.set(id, { status: outcome, attempts: row.attempt });
      } else {
        if (outcome !== 'retry') row.attempt--;
        row.lease = null;
        row.dueAt = now() + delayMs;
      }
      if (!endpoint || blameless || outcome === 'release' || outcome === 'interrupted') continue;
      endpoint.failures = outcome === 'sent' ? 0 : endpoint.failures + 1;
      if (outcome === 'sent') {
        if (endpoint.pausedUntil > 0) changes.push({ id: row.endpointId as string, status: 'enabled' });
        endpoint.pausedUntil = 0;
      }
      if (outcome !== 'sent' && endpoint.failures >= PAUSE_AFTER) {
        if (endpoint.pausedUntil === 0) changes.push({ id: row.endpointId as string, status: 'paused' });
        endpoint.pausedUntil = now() + PAUSE_MS;
      }
    }
    return { settled, changes };
  }

  function extend(held: readonly Lease[], leaseMs: number): ReadonlySet<string> {
    const kept = held.filter(({ id, lease }) => rows.get(id)?.lease === lease);
    for (const { id } of kept) (rows.get(id) as Row).dueAt = now() + leaseMs;
    return new Set(kept.map(keyOf));
  }

  return {
    rows,
    outcomes,
    endpoints,
    enqueue: (id, endpointId) => void rows.set(id, { id, endpointId, dueAt: now(), lease: null, attempt: 0 }),
    claim,
    settle,
    extend,
  };
}

function deliveryOf({ id, endpointId, attempt }: Row, lease: string): Delivery {
  const channel = endpointId === null ? 'email' : 'webhook';
  const endpoint = endpointId === null ? null : { url: '', status: 'enabled' as const, secrets: [] };
  const message = { type: 'simulated', body: '{}', traceparent: null };
  return { id, lease, attempt, ...message, channel, recipient: null, endpointId, endpoint };
}
