import pg from 'pg';
import { canceled, DbError, toDbError, withoutAnswer } from '../db.ts';
import { CANCEL_GRACE_MS, type connectionTrust, destroy } from './pg-client.ts';
import { PreparedQuery, type Sent } from './prepared-query.ts';

/** Milliseconds that a statement may take before those that come after it are sent elsewhere. */
const STALL_MS = 25;
/** Milliseconds that a connection is kept while somebody waits for one of their own. */
const TURN_MS = 50;
/** Statements of one kind that may wait to be sent; past it, they fail at once. */
export const MAX_WAITING = 4000;

type Limits = {
  /** Statements under way on one connection. */
  depth: number;
  /** Connections that are open at a time, not counting those that are held up. */
  connections: number;
  /** Whether the statements write, so that what became of each matters. */
  writes: boolean;
};

/** Where connections come from, and who hears how they fare. */
type Host = Pick<ReturnType<typeof connectionTrust>, 'trusts' | 'heard' | 'lost'> & {
  checkOut(): Promise<pg.PoolClient>;
  /** Whether somebody waits for a connection. */
  contended(): boolean;
  cancel(client: pg.Client): Promise<void>;
};

/** A statement that somebody waits for. */
type Item = {
  sent: Sent;
  signal: AbortSignal;
  resolve(rows: unknown[]): void;
  reject(error: DbError): void;
  onAbort(): void;
  /** The connection that it went out on. */
  on: Shared | undefined;
  settled: boolean;
  repeated: boolean;
  late: ReturnType<typeof setTimeout> | undefined;
};

/** A connection while statements share it. */
type Shared = {
  client: pg.PoolClient;
  /** In the order in which they were sent, which is that of the answers. */
  underWay: Item[];
  since: number;
  /** Since when the server has been at the first of them. */
  headSince: number;
  /** Takes no more statements. */
  retired: boolean;
  /** Is closed in the end, and not given back. */
  spoiled: boolean;
  /** A cancellation was asked for, and hits whatever the connection is at when it arrives. */
  canceled: boolean;
  /** The server said that it hangs up: what it had not begun then, it never will. */
  told: boolean;
};

type State = Limits &
  Host & {
    open: Shared[];
    waiting: Item[];
    opening: boolean;
    looksAgain: boolean;
  };

/**
 * Runs statements on connections that they share: each is sent without waiting for the answers to those before it, and
 * each is a transaction of its own, so that an error concerns no other. Where one takes long, those that come after it
 * go elsewhere. The pool has a connection back as soon as nothing is under way on it.
 */
export function sharedConnections(limits: Limits, host: Host) {
  const state: State = { ...limits, ...host, open: [], waiting: [], opening: false, looksAgain: false };
  return (sent: Sent, signal: AbortSignal): Promise<unknown[]> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) reject(canceled());
      else if (state.waiting.length >= MAX_WAITING) reject(new DbError('unavailable', 'too many statements wait'));
      else {
        const onAbort = () => abort(state, item);
        const fresh = { on: undefined, settled: false, repeated: false, late: undefined };
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

/** The first connection with room, so that few are open. */
function pick({ open, depth, trusts, contended }: State): Shared | undefined {
  const now = performance.now();
  for (const shared of open) {
    if (!trusts(shared.client) || (contended() && now - shared.since > TURN_MS)) shared.retired = true;
    if (isUsable(shared, now) && shared.underWay.length < depth) return shared;
  }
  return undefined;
}

function isUsable({ retired, underWay, headSince }: Shared, now: number): boolean {
  return !retired && (underWay.length === 0 || now - headSince <= STALL_MS);
}

function openAnother(state: State): void {
  const { open, connections, checkOut } = state;
  lookAgain(state);
  const now = performance.now();
  if (state.opening || open.filter((shared) => isUsable(shared, now)).length >= connections) return;
  state.opening = true;
  checkOut().then(
    (client) => opened(state, client),
    (error) => cannotOpen(state, error),
  );
}

// Nobody tells when a statement begins to take long.
function lookAgain(state: State): void {
  if (state.looksAgain) return;
  state.looksAgain = true;
  setTimeout(() => {
    state.looksAgain = false;
    sendWaiting(state);
  }, STALL_MS);
}

function opened(state: State, client: pg.PoolClient): void {
  const now = performance.now();
  const fresh = { retired: false, spoiled: false, canceled: false, told: false };
  const shared: Shared = { client, underWay: [], since: now, headSince: now, ...fresh };
  state.opening = false;
  state.open.push(shared);
  sendWaiting(state);
  if (shared.underWay.length === 0) giveBack(state, shared);
}

function cannotOpen(state: State, error: unknown): void {
  state.opening = false;
  if (state.open.length > 0) return;
  for (const item of state.waiting.splice(0)) settle(item, toDbError(error));
}

function send(state: State, shared: Shared, item: Item): void {
  item.on = shared;
  if (shared.underWay.push(item) === 1) shared.headSince = performance.now();
  const query = new PreparedQuery([item.sent], (error, rows) => answered(state, shared, item, error, rows[0]));
  shared.client.query(query);
}

function answered(state: State, shared: Shared, item: Item, error: Error | null, rows?: unknown[]): void {
  shared.underWay.shift();
  shared.headSince = performance.now();
  const isAnswer = error === null || error instanceof pg.DatabaseError;
  if (isAnswer) state.heard(shared.client, error);
  else state.lost(shared.client, error);

  if (error === null) settle(item, undefined, rows);
  else if (isOthers(shared, item, error)) sendAgain(state, shared, item);
  else settle(item, failureOf(state, shared, error));

  const head = shared.underWay[0];
  if (!head) giveBack(state, shared);
  else if (isAnswer && head.signal.aborted) cancelHead(state, shared, head);
  sendWaiting(state);
}

/** Whether the statement never ran, and through no fault of its own: another's cancellation came late, or none prepared it. */
function isOthers(shared: Shared, { repeated, settled, signal }: Item, error: Error): boolean {
  if (!(error instanceof pg.DatabaseError) || repeated || settled || signal.aborted) return false;
  return error.code === '26000' || (error.code === '57014' && shared.canceled);
}

function sendAgain(state: State, shared: Shared, item: Item): void {
  Object.assign(shared, { retired: true, spoiled: true });
  Object.assign(item, { on: undefined, repeated: true });
  state.waiting.unshift(item);
}

function failureOf({ writes }: State, shared: Shared, error: Error): DbError {
  if (error instanceof pg.DatabaseError) {
    if (/^57P0[13]$/.test(error.code ?? '')) shared.told = true;
    return toDbError(error);
  }
  Object.assign(shared, { retired: true, spoiled: true });
  return writes && !shared.told ? withoutAnswer(error) : toDbError(error);
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
  // Of a statement that changes nothing, nothing need be found out.
  if (!writes) settle(item, canceled());
  else item.late = setTimeout(settle, CANCEL_GRACE_MS, item, new DbError('unknown', 'canceled, and no answer in time'));
  shared.retired = true;
  if (shared.underWay[0] === item) cancelHead(state, shared, item);
}

/** The server is asked to cancel what it is at; where it says nothing to that, the connection is given up. */
function cancelHead({ cancel }: State, shared: Shared, head: Item): void {
  Object.assign(shared, { retired: true, spoiled: true, canceled: true });
  void cancel(shared.client);
  setTimeout(() => shared.underWay[0] === head && destroy(shared.client), CANCEL_GRACE_MS);
}

function giveBack({ open }: State, shared: Shared): void {
  const index = open.indexOf(shared);
  if (index < 0) return;
  open.splice(index, 1);
  // A cancellation that comes late must not hit whoever has the connection next.
  shared.client.release(shared.spoiled);
}
