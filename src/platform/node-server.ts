import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, RequestError } from '@hono/node-server';
import type { ErrorCode } from '../errors.ts';
import { brokenServer, listen } from './listen.ts';
import { malformedRequest, type Refusal, refusal } from './refusal.ts';
import type { CreateServer } from './server.ts';

const SWEEP_MS = 50;
/** Milliseconds that an idle connection outlives the listener: a request may be on its way. */
const LINGER_MS = 250;
/** Milliseconds between checks for clients that do not read, so that requests pay nothing for it. */
const WATCH_MS = 1000;
/** Pipelined requests that may wait in total, at about 3 KB each. */
const WAITING_MAX = 4_000;
/** Milliseconds between two log lines about the same kind of refusal. */
const TELL_REFUSED_MS = 10_000;

/** `newest` is the response to the last request whose headers were read, `before` the one before it. */
type Connection = {
  newest: ServerResponse | undefined;
  before: ServerResponse | undefined;
  waiting: number;
  refused: boolean;
};

/** Creates Node's HTTP server for a fetch handler, with an orderly stop. */
export const createNodeServer: CreateServer = (options) => {
  const { fetch, host, port, readTimeoutMs, idleTimeoutMs, maxConnections, log } = options;
  const connections = new Map<Socket, Connection>();
  let waiting = 0;
  let draining = false;

  const listener = getRequestListener(
    async (request, { incoming, outgoing }) => {
      if (isMalformed(incoming)) return refuseMalformed();
      const response = await fetch(request, incoming.socket.remoteAddress ?? 'unknown');
      if (draining) outgoing.setHeader('Connection', 'close');
      return response;
    },
    {
      // The adapter's own Request and Response: a third more requests per second (DECISIONS.md).
      overrideGlobalObjects: true,
      // HTTP/1.0 needs no Host.
      hostname: 'localhost',
      errorHandler: (error) => {
        // Host or target do not form a valid URL: a client error.
        if (error instanceof RequestError) return refuseMalformed();
        log.error('request failed outside the app', { error });
        return new Response(null, { status: 500 });
      },
    },
  );
  const server = createServer(
    {
      headersTimeout: readTimeoutMs,
      requestTimeout: readTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      connectionsCheckingInterval: Math.min(1000, readTimeoutMs),
      // Node's own response would not be problem+json.
      requireHostHeader: false,
    },
    inTurn,
  );
  server.maxConnections = maxConnections;
  // Closed in a worker, too: else excess connections would go from one full process to the next for ever.
  Object.assign(server, { dropMaxConnection: true });

  server.on('clientError', refuse);
  server.on('checkExpectation', (incoming, outgoing) => inTurn(incoming, outgoing));
  server.on('connect', (incoming) => refuse({}, incoming.socket.resume()));
  server.on('connection', (socket) => {
    const connection: Connection = { newest: undefined, before: undefined, waiting: 0, refused: false };
    connections.set(socket, connection);
    socket.once('close', () => forget(socket));
  });
  // For idle connections and clients that do not read. Reading and handling requests have their own limits.
  server.on('timeout', cut);
  const watch = setInterval(watchReaders, Math.min(WATCH_MS, idleTimeoutMs));
  watch.unref();
  const tellConnection = teller((count) =>
    log.warn('connections refused', { why: 'MAX_CONNECTIONS is reached', maxConnections, count }),
  );
  server.on('drop', () => tellConnection());
  const tellRequest = teller<ErrorCode>((count, code) => log.warn('requests refused', { code, count }));

  /** Starts the time-out of clients that have a response to read. Node restarts it on progress, and ends it afterwards. */
  function watchReaders(): void {
    for (const socket of connections.keys()) {
      if (socket.writableLength > 0 && !socket.timeout) socket.setTimeout(idleTimeoutMs);
    }
  }

  /** Handles one request of a connection at a time, so that at most one response is unread. */
  function inTurn(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const connection = connections.get(incoming.socket);
    if (!connection || connection.refused) return;
    const before = connection.newest;
    connection.before = before;
    connection.newest = outgoing;
    // Without a socket, it is queued behind another response.
    if (outgoing.socket) return void listener(incoming, outgoing);
    waiting++;
    connection.waiting++;
    if (waiting > WAITING_MAX) cutGreediest();
    before?.once('finish', () => {
      if (!connections.has(incoming.socket)) return;
      waiting--;
      connection.waiting--;
      const isRefused = connection.refused && !incoming.complete;
      if (!outgoing.socket || isRefused) return;
      // The response before it was read; this one has nothing to read yet.
      outgoing.socket.setTimeout(0);
      listener(incoming, outgoing);
    });
  }

  /** Returns the connection with the most waiting requests; the newest of those with as many. */
  function cutGreediest(): void {
    let greediest: Socket | undefined;
    let most = 0;
    for (const [socket, { waiting }] of connections) {
      if (waiting < most) continue;
      greediest = socket;
      most = waiting;
    }
    if (!greediest) return;
    forget(greediest);
    cut(greediest);
  }

  function forget(socket: Socket): void {
    waiting -= connections.get(socket)?.waiting ?? 0;
    connections.delete(socket);
  }

  function refuseMalformed(): Response {
    tellRequest('malformed-request');
    return malformedRequest();
  }

  /** Responds to requests that Node itself refuses, after the responses that are due before. */
  function refuse(error: { code?: string }, socket: Duplex): void {
    const connection = connections.get(socket as Socket);
    // Read and discard the rest: unread bytes would reset the connection, and lose responses.
    if (!connection || connection.refused || !socket.writable) return;
    connection.refused = true;
    const code = codeOf(error);
    tellRequest(code);
    const { newest, before } = connection;
    const due = newest?.req.complete || newest?.headersSent ? newest : before;
    if (!due || due.writableFinished) answer(socket, refusal(code));
    // After `Connection: close`, no further request is answered.
    else due.once('finish', () => socket.writable && answer(socket, refusal(code)));
  }

  function drain(): void {
    draining = true;
  }

  function closeUnused(): void {
    const sockets = [...connections.keys()];
    // Node treats a connection as idle once its response is written, whether or not it is sent.
    if (sockets.every((socket) => socket.writableLength === 0)) server.closeIdleConnections();
    // And only after the first response on it.
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  return {
    listen: () => listen(server, host, port),
    broken: brokenServer(server),
    drain,
    async close(): Promise<void> {
      drain();
      // http.Server's close would end idle connections at once, and the checks for slow requests.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      const lingersUntil = performance.now() + LINGER_MS;
      const sweeper = setInterval(() => performance.now() >= lingersUntil && closeUnused(), SWEEP_MS);
      await closed;
      clearInterval(sweeper);
      clearInterval(watch);
    },
  };
};

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

/** Discards an unread body. */
function cut(socket: Socket): void {
  if (socket.writableLength > 0) socket.resetAndDestroy();
  else socket.destroy();
}

function codeOf({ code }: { code?: string }): ErrorCode {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request-timeout';
  return code === 'HPE_HEADER_OVERFLOW' ? 'headers-too-large' : 'malformed-request';
}

/** Returns a function that logs how many there were since the last line, and the newest: at once, then at intervals. */
function teller<T = void>(say: (count: number, newest: T) => void): (newest: T) => void {
  let toldAt = Number.NEGATIVE_INFINITY;
  let count = 0;
  return (newest) => {
    count++;
    if (performance.now() - toldAt < TELL_REFUSED_MS) return;
    toldAt = performance.now();
    say(count, newest);
    count = 0;
  };
}

function answer(socket: Duplex, { status, title, headers, body }: Refusal): void {
  socket.on('error', () => {});
  // The client may never close its side. Give the response a moment to arrive.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  const lines = Object.entries({ Connection: 'close', ...headers }).map((field) => field.join(': '));
  socket.end(`HTTP/1.1 ${status} ${title}\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
}
