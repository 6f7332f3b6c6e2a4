import { createServer } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, RequestError } from '@hono/node-server';
import { brokenServer, listen } from './listen.ts';
import { badHost, type CreateServer } from './server.ts';

const SWEEP_MS = 50;
/** Milliseconds that a connection on which nothing is asked outlives the listener: a request may be on its way. */
const LINGER_MS = 250;

/** Node's HTTP server around a fetch handler, with an orderly stop. */
export const createNodeServer: CreateServer = ({ fetch, host, port, readTimeoutMs, idleTimeoutMs, log }) => {
  const connections = new Set<Socket>();
  let draining = false;

  const listener = getRequestListener(
    async (request, { incoming, outgoing }) => {
      const response = await fetch(request, incoming.socket.remoteAddress ?? 'unknown');
      if (draining) outgoing.setHeader('Connection', 'close');
      return response;
    },
    {
      // Its own light Request and Response: a third more requests per second (DECISIONS.md).
      overrideGlobalObjects: true,
      errorHandler: (error) => {
        if (error instanceof RequestError) return badHost();
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
    },
    listener,
  );

  server.on('clientError', answerBadRequest);
  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });

  function drain(): void {
    draining = true;
  }

  function closeUnused(): void {
    server.closeIdleConnections();
    // Node calls a connection idle only once it has answered something on it.
    for (const socket of connections) if (socket.bytesRead === 0) socket.destroy();
  }

  return {
    listen: () => listen(server, host, port),
    broken: brokenServer(server),
    drain,
    async close(): Promise<void> {
      drain();
      // The HTTP server's own close would end kept connections at once, and its checks of slow requests with them.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      const lingersUntil = performance.now() + LINGER_MS;
      const sweeper = setInterval(() => performance.now() >= lingersUntil && closeUnused(), SWEEP_MS);
      await closed;
      clearInterval(sweeper);
    },
  };
};

const HEADERS_TOO_LARGE = { code: 'headers-too-large', status: 431, title: 'Request header fields too large' };

/** What Node itself refuses never reaches the app: 431 as the app would say it, anything else as briefly as can be. */
function answerBadRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy(error);
  // The other side may never close its half; the answer gets a moment to arrive.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
  if (error.code !== 'HPE_HEADER_OVERFLOW') {
    const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
    return void socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  }
  const { code, status, title } = HEADERS_TOO_LARGE;
  const detail = 'The request headers are too large.';
  const requestId = crypto.randomUUID();
  const body = JSON.stringify({ type: `/problems/${code}`, title, status, detail, instance: '/', requestId });
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${body.length}`,
    'X-Content-Type-Options: nosniff',
    `X-Request-Id: ${requestId}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
