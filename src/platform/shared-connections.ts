import pg from 'pg';
import { canceled, DbError, toDbError, unanswered } from '../db.ts';
import { CANCEL_GRACE_MS, type connectionTrust, destroy } from './pg-client.ts';
import { type BoundQuery, PreparedQuery } from './prepared-query.ts';

/** Milliseconds after which a statement counts as slow: later ones go to another connection. */
const STALL_MS = 25;
/** Milliseconds that a connection is kept while another statement waits for a connection of its own. */
const TURN_MS = 50;
/** How many statements of one kind may wait to be sent. Further ones fail at once. */
export const MAX_WAITING = 4000;

type Limits = {
  /** Statements under way on one connection. */
  depth: number;
  /** How many connections are used, not counting those blocked by a slow statement. */
  connections: number;
  /** Whether the statements write, so that the outcome of each matters. */
  writes: boolean;
};

/** The pool that lends connections, and the tracker of their health. */
type Host = Pick<ReturnType<typeof connectionTrust>, 'trusts' | 'responded' | 'lost'> & {
  checkOut(): Promise<pg.PoolClient>;
  /** Whether another statement waits for a connection. */
  contended(): boolean;
  cancel(client: pg.Client): Promise<void>;
};

/** A statement that was submitted. */
type Item = {
  sent: BoundQuery;
  signal: AbortSignal;
  resolve(rows: unknown[]): void;
  reject(error: DbError): void;
  onAbort(): void;
  /** The connection that it was sent on. */
  on: Shared | undefined;
  settled: boolean;
  retried: boolean;
  late: ReturnType<typeof setTimeout> | undefined;
};

/** A shared connection. */
type Shared = {
  client: pg.PoolClient;
  /** In the order sent, which is the order of the answers. */
  inFlight: Item[];
  since: number;
  /** Since when the server has worked on the first one. */
  headSince: number;
  /** Takes no more statements. */
  retired: boolean;
  /** To be destroyed instead of returned to the pool. */
  tainted: boolean;
  /** A cancellation was requested. It hits the statement that is current when it arrives. */
  canceled: boolean;
  /** The server announced that it closes the connection: statements it had not started will never run. */
  shutdownAnnounced: boolean;
};

type State = Limits &
  Host & {
    open: Shared[];
    waiting: Item[];
    opening: boolean;
    recheckScheduled: boolean;
  };

/**
 * Runs statements on shared connections by pipelining: each is sent without waiting for earlier answers. Each is a
 * transaction of its own, so that an error affects no other. If one is slow, later ones use another connection. A
 * connection returns to the pool as soon as nothing is under way on it.
 */
export function sharedConnections(limits: Limits, host: Host) {
  const state: State = { ...limits, ...host, open: [], waiting: [], opening: false, recheckScheduled: false };
  return (sent: BoundQuery, signal: AbortSignal): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) reject(canceled());
      else if (state.waiting.length >= MAX_WAITING) reject(new DbError('unavailable', 'too many waiting statements'));
      else {
        const onAbort = () => abort(state, item);
        const fresh = { on: undefined, settled: false, retried: false, late: undefined };
        const item: Item = { sent, signal, resolve, reject, onAbort, ...fresh };
        signal.addEventListener('abort', onAbort, { once: true });
        state.waiting.push(item);
        sendWaiting(state);
      }
    });
}

function sendWaiting(state: State): void {
  const { waiting } = state;
  while (waiting.length > 0) {
    const shared = pick(state);
    if (!shared) return void openAnother(state);
    send(state, shared, waiting.shift() as Item);
  }
}

/** Returns the first connection with room, so that few are used. */
function pick({ open, depth, trusts, contended }: State): Shared | undefined {
  const now = performance.now();
  for (const shared of open) {
    if (!trusts(shared.client) || (contended() && now - shared.since > TURN_MS)) shared.retired = true;
    if (isUsable(shared, now) && shared.inFlight.length < depth) return shared;
  }
  return undefined;
}

function isUsable({ retired, inFlight, headSince }: Shared, now: number): boolean {
  return !retired && (inFlight.length === 0 || now - headSince <= STALL_MS);
}

function openAnother(state: State): void {
  const { open, connections, checkOut } = state;
  scheduleRecheck(state);
  const now = performance.now();
  if (state.opening || open.filter((shared) => isUsable(shared, now)).length >= connections) return;
  state.opening = true;
  checkOut().then(
    (client) => opened(state, client),
    (error) => openFailed(state, error),
  );
}

// No event reports that a statement has become slow, so a timer checks.
function scheduleRecheck(state: State): void {
  if (state.recheckScheduled) return;
  state.recheckScheduled = true;
  setTimeout(() => {
    state.recheckScheduled = false;
    sendWaiting(state);
  }, STALL_MS);
}

function opened(state: State, client: pg.PoolClient): void {
  const now = performance.now();
  const fresh = { retired: false, tainted: false, canceled: false, shutdownAnnounced: false };
  const shared: Shared = { client, inFlight: [], since: now, headSince: now, ...fresh };
  state.opening = false;
  state.open.push(shared);
  sendWaiting(state);
  if (shared.inFlight.length === 0) returnToPool(state, shared);
}

function openFailed(state: State, error: unknown): void {
  state.opening = false;
  if (state.open.length > 0) return;
  for (const item of state.waiting.splice(0)) settle(item, toDbError(error));
}

function send(state: State, shared: Shared, item: Item): void {
  item.on = shared;
  if (shared.inFlight.push(item) === 1) shared.headSince = performance.now();
  const query = new PreparedQuery([item.sent], (error, rows) => answered(state, shared, item, error, rows[0]));
  shared.client.query(query);
}

function answered(state: State, shared: Shared, item: Item, error: Error | null, rows?: unknown[]): void {
  shared.inFlight.shift();
  shared.headSince = performance.now();
  const isAnswer = error === null || error instanceof pg.DatabaseError;
  if (isAnswer) state.responded(shared.client, error);
  else state.lost(shared.client, error);

  if (error === null) settle(item, undefined, rows);
  else if (isRetryable(shared, item, error)) requeue(state, shared, item);
  else settle(item, failureOf(state, shared, error));

  const head = shared.inFlight[0];
  if (!head) returnToPool(state, shared);
  else if (isAnswer && head.signal.aborted) cancelHead(state, shared, head);
  sendWaiting(state);
}

/** Whether the statement did not run, for an external reason: a late cancellation of another, or an unprepared name. */
function isRetryable(shared: Shared, { retried, settled, signal }: Item, error: Error): boolean {
  if (!(error instanceof pg.DatabaseError) || retried || settled || signal.aborted) return false;
  return error.code === '26000' || (error.code === '57014' && shared.canceled);
}

function requeue(state: State, shared: Shared, item: Item): void {
  Object.assign(shared, { retired: true, tainted: true });
  Object.assign(item, { on: undefined, retried: true });
  state.waiting.unshift(item);
}

function failureOf({ writes }: State, shared: Shared, error: Error): DbError {
  if (error instanceof pg.DatabaseError) {
    if (/^57P0[13]$/.test(error.code ?? '')) shared.shutdownAnnounced = true;
    return toDbError(error);
  }
  Object.assign(shared, { retired: true, tainted: true });
  return writes && !shared.shutdownAnnounced ? unanswered(error) : toDbError(error);
}

function settle(item: Item, error: DbError | undefined, rows: unknown[] = []): void {
  if (item.settled) return;
  item.settled = true;
  // The signal may outlive the statement.
  item.signal.removeEventListener('abort', item.onAbort);
  clearTimeout(item.late);
  if (error) item.reject(error);
  else item.resolve(rows);
}

function abort(state: State, item: Item): void {
  const { waiting, writes } = state;
  const shared = item.on;
  if (!shared) {
    waiting.splice(waiting.indexOf(item), 1);
    settle(item, canceled());
    return;
  }
  shared.retired = true;
  // First, so that a connection that stays silent is known to be dead before its client gets the error and retries.
  if (shared.inFlight[0] === item) cancelHead(state, shared, item);
  // A read has no outcome to wait for.
  if (!writes) settle(item, canceled());
  else item.late = setTimeout(settle, CANCEL_GRACE_MS, item, new DbError('unknown', 'canceled, and no answer in time'));
}

/** Asks the server to cancel the current statement. Without an answer, destroys the connection. */
function cancelHead({ cancel }: State, shared: Shared, head: Item): void {
  Object.assign(shared, { retired: true, tainted: true, canceled: true });
  void cancel(shared.client);
  setTimeout(() => shared.inFlight[0] === head && destroy(shared.client), CANCEL_GRACE_MS);
}

function returnToPool({ open }: State, shared: Shared): void {
  const index = open.indexOf(shared);
  if (index < 0) return;
  open.splice(index, 1);
  // A late cancellation must not hit the connection's next statement.
  shared.client.release(shared.tainted);
}
