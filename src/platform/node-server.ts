import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, RequestError } from '@hono/node-server';
import type { ErrorCode } from '../errors.ts';
import { PROBES } from '../http/deadline.ts';
import type { Policy } from '../http/rate-limit.ts';
import { createAdmission } from './admission.ts';
import { brokenServer, listen } from './listen.ts';
import { internalError, malformedRequest, type Refusal, refusal } from './refusal.ts';
import type { CreateServer } from './server.ts';

const SWEEP_MS = 50;
/** Milliseconds that an idle connection outlives the listener: a request may be on its way. */
const LINGER_MS = 250;
/** Milliseconds between checks for clients that do not read. A timer checks, so that requests pay nothing for it. */
const WATCH_MS = 1000;
/** Pipelined requests that may wait in total, at about 3 KB each. */
const WAITING_MAX = 4_000;
/** Once this many of them come in one turn of the event loop, connections are read in turns, READ_IN_TURN at a time. */
const WAITING_IN_TURN = 1_000;
const READ_IN_TURN = 4;
/** Milliseconds between two log lines about the same kind of refusal. */
const LOG_INTERVAL_MS = 10_000;

/** `newest` is the response to the last request whose headers were read, `before` the one before it. */
type Connection = {
  newest: ServerResponse | undefined;
  before: ServerResponse | undefined;
  waiting: number;
  refused: boolean;
};

type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => unknown;

type ThrottledLog = { note(kind: string): void; flush(): void };

type State = {
  connections: Map<Socket, Connection>;
  /** How many requests wait behind others on their connections, in total, and how many of them arrived in this turn. */
  waiting: number;
  arrivedThisTurn: number;
  /** Connections that are not read until it is their turn. */
  held: Set<Socket>;
  /** Whether `endTurn` is scheduled. */
  turning: boolean;
  draining: boolean;
  /** Milliseconds within which something of the responses that are due before a refusal is sent. */
  dueTimeoutMs: number;
  policy: Policy;
  refusals: ThrottledLog;
};

/** Node's HTTP server around a fetch handler, with an orderly stop. */
export const createNodeServer: CreateServer = (options) => {
  const { host, port, readTimeoutMs, idleTimeoutMs, requestTimeoutMs, maxConnections, policy, log } = options;
  const state: State = {
    connections: new Map(),
    waiting: 0,
    arrivedThisTurn: 0,
    held: new Set(),
    turning: false,
    draining: false,
    dueTimeoutMs: requestTimeoutMs + idleTimeoutMs,
    policy,
    refusals: throttledLog((code, count) => log.warn('requests refused', { code, count })),
  };
  const listener = listenerOf(options, state);
  const server = createServer({
    headersTimeout: readTimeoutMs,
    requestTimeout: readTimeoutMs,
    keepAliveTimeout: idleTimeoutMs,
    connectionsCheckingInterval: Math.min(1000, readTimeoutMs),
    // Node's own response would not be a problem document.
    requireHostHeader: false,
  });
  server.maxConnections = maxConnections;
  // With several processes, excess connections would otherwise pass from one full process to the next for ever.
  Object.assign(server, { dropMaxConnection: true });

  server.on('request', (incoming, outgoing) => handleInOrder(state, listener, incoming, outgoing));
  server.on('checkExpectation', (incoming, outgoing) => handleInOrder(state, listener, incoming, outgoing));
  server.on('clientError', (error, socket) => refuse(state, error as NodeJS.ErrnoException, socket));
  server.on('connect', ({ socket }) => refuse(state, {}, socket.resume()));
  server.on('connection', (socket) => {
    // Node removes its own listener from a socket that it gives away: an error would end the process.
    socket.on('error', () => {});
    state.connections.set(socket, { newest: undefined, before: undefined, waiting: 0, refused: false });
    socket.once('close', () => forget(state, socket));
  });
  // For idle kept connections and clients that do not read. Reading requests and answering them have other limits.
  server.on('timeout', cut);
  const watch = setInterval(watchReaders, Math.min(WATCH_MS, idleTimeoutMs), state, idleTimeoutMs);
  watch.unref();
  const drops = throttledLog((why, count) => log.warn('connections refused', { why, maxConnections, count }));
  server.on('drop', () => drops.note('MAX_CONNECTIONS is reached'));

  const flush = () => {
    state.refusals.flush();
    drops.flush();
  };
  const drain = () => {
    state.draining = true;
    // A stop may be cut short.
    flush();
  };
  return {
    listen: () => listen(server, host, port),
    broken: brokenServer(server),
    drain,
    async close(): Promise<void> {
      drain();
      await closeWhenUnused(state, server);
      clearInterval(watch);
      flush();
    },
  };
};

/** The app, behind Hono's adapter. */
function listenerOf({ fetch, log }: Parameters<CreateServer>[0], state: State): Listener {
  const admit = createAdmission();
  return getRequestListener(
    async (request, { incoming, outgoing }) => {
      if (isMalformed(incoming)) return refuseMalformed(state, incoming.headers['x-request-id']);
      const peer = incoming.socket.remoteAddress ?? 'unknown';
      // If the client left while the request waited, nothing is started or sent.
      const answer = () => (outgoing.destroyed ? new Response(null, { status: 499 }) : fetch(request, peer));
      const [path = ''] = (incoming.url ?? '').split('?', 1);
      const response = await (PROBES.has(path) ? answer() : admit(answer));
      if (state.draining) outgoing.setHeader('Connection', 'close');
      return response;
    },
    {
      // The adapter's own Request and Response: a third more requests per second (DECISIONS.md).
      overrideGlobalObjects: true,
      // HTTP/1.0 needs no Host.
      hostname: 'localhost',
      errorHandler: (error) => {
        // The Host or the target does not make a valid URL: the client's mistake.
        if (error instanceof RequestError) return refuseMalformed(state);
        log.error('request failed outside the app', { error });
        return internalError(state.policy);
      },
    },
  );
}

function refuseMalformed({ policy, refusals }: State, given?: string | string[]): Response {
  refusals.note('malformed-request');
  return malformedRequest(policy, given?.toString());
}

/** Times clients that have a response to read. Node notices progress, and ends the time-out with the response. */
function watchReaders({ connections }: State, idleTimeoutMs: number): void {
  for (const socket of connections.keys()) {
    if (socket.writableLength > 0 && !socket.timeout) socket.setTimeout(idleTimeoutMs);
  }
}

/** Handles one request of a connection at a time: at most one response is made that the client does not read. */
function handleInOrder(state: State, listener: Listener, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { connections } = state;
  const connection = connections.get(incoming.socket);
  if (!connection || connection.refused) return;
  const before = connection.newest;
  connection.before = before;
  connection.newest = outgoing;
  // A response without a socket is queued behind another one.
  if (outgoing.socket) return void listener(incoming, outgoing);
  connection.waiting++;
  noteWaiting(state);
  if (state.waiting > WAITING_MAX) cutLongestQueue(state);
  before?.once('finish', () => {
    if (!connections.has(incoming.socket)) return;
    state.waiting--;
    connection.waiting--;
    const isRefused = connection.refused && !incoming.complete;
    if (!outgoing.socket || isRefused) return;
    // The client took the previous response, and has none to take yet.
    outgoing.socket.setTimeout(0);
    listener(incoming, outgoing);
  });
}

/**
 * Counts a request that waits. Once many have arrived in one turn of the event loop, connections are read in turns:
 * otherwise those that send hundreds of requests in one packet would hold up all others for seconds.
 */
function noteWaiting(state: State): void {
  state.waiting++;
  if (!state.turning) setImmediate(endTurn, state);
  state.turning = true;
  if (++state.arrivedThisTurn !== WAITING_IN_TURN) return;
  for (const socket of state.connections.keys()) {
    if (state.held.has(socket)) continue;
    state.held.add(socket);
    socket.pause();
  }
}

/** Lets the next few connections be read in the next turn. */
function endTurn(state: State): void {
  state.arrivedThisTurn = 0;
  let left = READ_IN_TURN;
  for (const socket of state.held) {
    if (left-- === 0) break;
    state.held.delete(socket);
    if (state.connections.has(socket)) socket.resume();
  }
  state.turning = state.held.size > 0;
  if (state.turning) setImmediate(endTurn, state);
}

/** Cuts the connection with the most waiting requests, or the newest of several such. */
function cutLongestQueue(state: State): void {
  let longest: Socket | undefined;
  let most = 0;
  for (const [socket, { waiting }] of state.connections) {
    if (waiting < most) continue;
    longest = socket;
    most = waiting;
  }
  if (!longest) return;
  forget(state, longest);
  cut(longest);
}

function forget(state: State, socket: Socket): void {
  state.waiting -= state.connections.get(socket)?.waiting ?? 0;
  state.connections.delete(socket);
}

/** Answers a request that Node itself refuses, and the app never gets. Responses due before it are sent first. */
function refuse(state: State, error: { code?: string | undefined }, duplex: Duplex): void {
  const { connections, dueTimeoutMs, policy, refusals } = state;
  const socket = duplex as Socket;
  const connection = connections.get(socket);
  // What still arrives is read and discarded: unread bytes would reset the connection, and lose its responses.
  if (!connection || connection.refused || !socket.writable) return;
  connection.refused = true;
  const code = codeOf(error);
  refusals.note(code);
  const { newest, before } = connection;
  const due = newest?.req.complete || newest?.headersSent ? newest : before;
  if (!due || due.writableFinished) {
    answer(socket, refusal(code, policy));
    return;
  }
  // A client that was told that the connection closes waits for no further response.
  due.once('finish', () => socket.writable && answer(socket, refusal(code, policy)));
  cutWhenStuck(socket, dueTimeoutMs);
}

/** Cuts a connection that takes nothing for `ms`. One that keeps sending meanwhile is never idle for Node. */
function cutWhenStuck(socket: Socket, ms: number): void {
  const taken = () => socket.bytesWritten - socket.writableLength;
  let before = taken();
  const watch = setInterval(() => {
    if (taken() === before) cut(socket);
    before = taken();
  }, ms).unref();
  socket.once('close', () => clearInterval(watch));
}

/** Takes no new connections, and resolves when the last one is gone. */
async function closeWhenUnused({ connections }: State, server: Server): Promise<void> {
  // The HTTP server's own close would close kept connections at once, and stop its checks for slow requests.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  const lingersUntil = performance.now() + LINGER_MS;
  const closeUnused = () => {
    if (performance.now() < lingersUntil) return;
    const sockets = [...connections.keys()];
    // Node treats a connection as idle once its response is written, whether or not it is sent.
    if (sockets.every((socket) => socket.writableLength === 0)) server.closeIdleConnections();
    // And it does so only after the first response.
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
  };
  const sweeper = setInterval(closeUnused, SWEEP_MS);
  await closed;
  clearInterval(sweeper);
}

type Head = Pick<IncomingMessage, 'headers' | 'rawHeaders' | 'httpVersion'>;

/** Whether a request has no Host, or is ambiguous (RFC 9112, sections 3.2 and 6.1). */
function isMalformed({ headers, rawHeaders, httpVersion }: Head): boolean {
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return true;
  let hosts = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  return httpVersion === '1.0' ? hosts > 1 : hosts !== 1;
}

/** Destroys a socket, and discards an unread response. */
function cut(socket: Socket): void {
  if (socket.writableLength > 0) socket.resetAndDestroy();
  else socket.destroy();
}

function codeOf({ code }: { code?: string | undefined }): ErrorCode {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request-timeout';
  return code === 'HPE_HEADER_OVERFLOW' ? 'headers-too-large' : 'malformed-request';
}

/** Counts what is noted, by kind. Logs the counts at once if it has logged nothing for an interval, otherwise after it. */
function throttledLog(write: (kind: string, count: number) => void): ThrottledLog {
  const counts = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = counts.size > 0 ? setTimeout(flush, LOG_INTERVAL_MS).unref() : undefined;
    for (const [kind, count] of counts) write(kind, count);
    counts.clear();
  };
  const note = (kind: string) => {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    if (!timer) flush();
  };
  return { note, flush };
}

function answer(socket: Duplex, { status, title, headers, body }: Refusal): void {
  // The client may never close its side. Give the response a moment to arrive.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  const lines = Object.entries({ Connection: 'close', ...headers }).map((field) => field.join(': '));
  socket.end(`HTTP/1.1 ${status} ${title}\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
}
