import pg from 'pg';
import { canceled, DbError, toDbError, unanswered } from '../db.ts';
import { CANCEL_GRACE_MS, type connectionTrust, destroy } from './pg-client.ts';
import { type BoundQuery, PreparedQuery } from './prepared-query.ts';

/** Milliseconds after which a transaction counts as slow: later ones go to another connection. */
const STALL_MS = 25;
/** Begins a transaction of several statements: it fails if one takes longer than 50 ms, waiting for locks included. */
const TIME_LIMIT: BoundQuery = {
  name: 'time_limit',
  text: "select set_config('statement_timeout', '50ms', true)",
  params: [],
};
/** Milliseconds that a connection is kept while another statement waits for a connection of its own. */
const TURN_MS = 50;
/** The least and the most statements that are sent apart after a shared transaction failed, besides its own. */
const MIN_BACKOFF = 16;
const MAX_BACKOFF = 1024;
/** SQLSTATEs of a deadlock, a lock that did not become free in time, and a lack of memory or disk. */
const OF_ONE = /^(?:40|55P03|53|58)/;
/** The SQLSTATE of a session that does not know a prepared statement (any more). */
const UNPREPARED = '26000';
/** The same, and those with which the server closes a session, or a pooler loses its own. */
const LAST = /^(?:26000|25P0[34]|57P|08)/;
/** How many statements of one kind may wait to be sent. Further ones fail at once. */
export const MAX_WAITING = 4000;

type Limits = {
  /** Transactions under way on one connection. */
  depth: number;
  /** How many connections are used, not counting those blocked by a slow statement. */
  connections: number;
  /** Limits for statements that share transactions, of which a connection has one under way. */
  together?: { statements: number; connections: number };
  /** Whether the statements write, so that the outcome of each matters. */
  writes: boolean;
};

/** The pool that lends connections, and the tracker of their health. */
type Host = Pick<ReturnType<typeof connectionTrust>, 'trusts' | 'responded' | 'lost'> & {
  checkOut(): Promise<pg.PoolClient>;
  /** Whether others wait for a connection, besides `mine`, 0 or 1. */
  contended(mine: number): boolean;
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
  /** It may be slow, so no other waits behind it. */
  slow: boolean;
  retried: boolean;
  late: ReturnType<typeof setTimeout> | undefined;
};

/** Statements that are sent and commit together. */
type Transaction = readonly Item[];

/** A shared connection. */
type Shared = {
  client: pg.PoolClient;
  /** In the order sent, which is the order of the answers. */
  inFlight: Transaction[];
  since: number;
  /** Since when the server has worked on the first one. */
  headSince: number;
  /** Takes no more statements. */
  retired: boolean;
  /** Takes none until the slow one on it is answered. */
  exclusive: boolean;
  /** To be destroyed instead of returned to the pool. */
  tainted: boolean;
  /** The last one whose cancellation was requested. It hits the statement that is current when it arrives. */
  canceled: Transaction | undefined;
  /** The server announced that it closes the connection: statements it had not started will never run. */
  shutdownAnnounced: boolean;
};

type State = Limits &
  Host & {
    open: Shared[];
    waiting: Item[];
    /** How many statements to send in transactions of their own before the next one that is shared. */
    apart: number;
    /** How many more if that one fails, too. */
    backoff: number;
    opening: boolean;
    sendScheduled: boolean;
    recheckScheduled: boolean;
  };

/**
 * Runs statements on shared connections: several in one transaction, and several transactions without waiting for
 * earlier answers. If a transaction of several fails, it is rolled back, and each of them runs in one of its own: no
 * statement fails because of another. If one is slow, later ones use another connection. A connection returns to the
 * pool as soon as nothing is under way on it.
 */
export function sharedConnections(limits: Limits, host: Host) {
  const sharing = { apart: limits.together ? 0 : Number.POSITIVE_INFINITY, backoff: MIN_BACKOFF };
  const idle = { opening: false, sendScheduled: false, recheckScheduled: false };
  const state: State = { ...limits, ...host, open: [], waiting: [], ...sharing, ...idle };
  return (sent: BoundQuery, signal: AbortSignal): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) reject(canceled());
      else if (state.waiting.length >= MAX_WAITING) reject(new DbError('unavailable', 'too many waiting statements'));
      else {
        const onAbort = () => abort(state, item);
        const fresh = { on: undefined, settled: false, slow: false, retried: false, late: undefined };
        const item: Item = { sent, signal, resolve, reject, onAbort, ...fresh };
        signal.addEventListener('abort', onAbort, { once: true });
        state.waiting.push(item);
        if (state.apart === 0) scheduleSend(state);
        else sendWaiting(state);
      }
    });
}

// Once per turn of the event loop, so that what comes in one turn shares a transaction.
function scheduleSend(state: State): void {
  if (state.sendScheduled) return;
  state.sendScheduled = true;
  setImmediate(() => {
    state.sendScheduled = false;
    sendWaiting(state);
  });
}

function sendWaiting(state: State): void {
  while (state.waiting.length > 0) {
    const shared = pick(state);
    if (!shared) return void openAnother(state);
    send(state, shared, takeTransaction(state));
  }
}

function takeTransaction(state: State): Transaction {
  const { waiting, together } = state;
  if (state.apart === 0) return waiting.splice(0, together?.statements);
  state.apart--;
  return waiting.splice(0, 1);
}

/** Returns the first connection with room, so that few are used. */
function pick({ open, depth, trusts, contended, apart, opening }: State): Shared | undefined {
  const now = performance.now();
  const most = apart > 0 ? depth : 1;
  for (const shared of open) {
    if (!trusts(shared.client) || (contended(Number(opening)) && now - shared.since > TURN_MS)) shared.retired = true;
    if (isUsable(shared, now) && !shared.exclusive && shared.inFlight.length < most) return shared;
  }
  return undefined;
}

function isUsable({ retired, inFlight, headSince }: Shared, now: number): boolean {
  return !retired && (inFlight.length === 0 || now - headSince <= STALL_MS);
}

function openAnother(state: State): void {
  const { open, checkOut, together, apart } = state;
  scheduleRecheck(state);
  const { connections } = apart === 0 && together ? together : state;
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
  const fresh = { retired: false, exclusive: false, tainted: false, canceled: undefined, shutdownAnnounced: false };
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

function send(state: State, shared: Shared, transaction: Transaction): void {
  for (const item of transaction) item.on = shared;
  shared.exclusive = transaction.some(({ slow }) => slow);
  if (shared.inFlight.push(transaction) === 1) shared.headSince = performance.now();
  const sent = transaction.map((item) => item.sent);
  const query = new PreparedQuery(sent.length > 1 ? [TIME_LIMIT, ...sent] : sent, (error, rows) =>
    answered(state, shared, transaction, error, rows.slice(-sent.length)),
  );
  shared.client.query(query);
}

function answered(
  state: State,
  shared: Shared,
  transaction: Transaction,
  error: Error | null,
  rows: unknown[][],
): void {
  shared.inFlight.shift();
  shared.headSince = performance.now();
  const isAnswer = error === null || error instanceof pg.DatabaseError;
  if (!isAnswer || LAST.test(error?.code ?? '')) Object.assign(shared, { retired: true, tainted: true });
  if (isAnswer) state.responded(shared.client, error);
  else state.lost(shared.client, error);

  if (error === null) succeeded(state, transaction, rows);
  else if (transaction.length > 1 && isOfOne(error)) retryApart(state, transaction, error);
  else if (isRetryable(shared, transaction[0] as Item, error)) retryOnce(state, transaction[0] as Item);
  else {
    const failure = failureOf(state, shared, error);
    for (const item of transaction) settle(item, failure);
  }

  if (shared.inFlight.length === 0) shared.exclusive = false;
  const head = shared.inFlight[0];
  if (head && isAnswer && head.some(({ signal }) => signal.aborted)) cancelHead(state, shared, head);
  sendWaiting(state);
  if (shared.inFlight.length === 0) returnToPool(state, shared);
}

function succeeded(state: State, transaction: Transaction, rows: unknown[][]): void {
  if (transaction.length > 1) state.backoff = Math.max(state.backoff / 2, MIN_BACKOFF);
  for (const [i, item] of transaction.entries()) settle(item, undefined, rows[i]);
}

/** Whether the server rolled the transaction back because of one of its statements: others may succeed without it. */
function isOfOne(error: Error): boolean {
  // Without an answer, the transaction may have committed.
  if (!(error instanceof pg.DatabaseError)) return false;
  const { failure, sqlState = '' } = toDbError(error);
  return failure === 'failed' || failure === 'canceled' || (failure === 'unavailable' && OF_ONE.test(sqlState));
}

function retryApart(state: State, transaction: Transaction, error: Error): void {
  for (const item of transaction) if (item.signal.aborted) settle(item, canceled());
  const retried = transaction.filter(({ settled }) => !settled);
  const slow = toDbError(error).failure !== 'failed';
  for (const item of retried) Object.assign(item, { on: undefined, slow });
  state.waiting.unshift(...retried);
  // Those that were rolled back are first in line, so each is rolled back once at most.
  state.apart += retried.length + state.backoff;
  state.backoff = Math.min(state.backoff * 2, MAX_BACKOFF);
}

/** Whether the statement did not run, for an external reason: a late cancellation of another, or an unprepared name. */
function isRetryable(shared: Shared, { retried, settled, signal }: Item, error: Error): boolean {
  if (!(error instanceof pg.DatabaseError) || retried || settled || signal.aborted) return false;
  return error.code === UNPREPARED || (error.code === '57014' && shared.canceled !== undefined);
}

function retryOnce(state: State, item: Item): void {
  Object.assign(item, { on: undefined, retried: true });
  state.waiting.unshift(item);
}

function failureOf({ writes }: State, shared: Shared, error: Error): DbError {
  if (error instanceof pg.DatabaseError) {
    if (/^57P0[13]$/.test(error.code ?? '')) shared.shutdownAnnounced = true;
    return toDbError(error);
  }
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
  const head = shared.inFlight[0];
  if (head?.includes(item)) cancelHead(state, shared, head);
  // A read has no outcome to wait for.
  if (!writes) settle(item, canceled());
  else item.late = setTimeout(settle, CANCEL_GRACE_MS, item, new DbError('unknown', 'canceled, and no answer in time'));
}

/** Asks the server to cancel the current transaction. Without an answer, destroys the connection. */
function cancelHead({ cancel }: State, shared: Shared, head: Transaction): void {
  // Those of a transaction whose deadlines pass together need one request.
  if (shared.canceled === head) return;
  Object.assign(shared, { retired: true, tainted: true, canceled: head });
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
