import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { CreateServer } from './server.ts';

const SWEEP_MS = 50;
/** Milliseconds that a connection on which nothing is asked outlives the listener: a request may be on its way. */
const LINGER_MS = 250;

/** Node's HTTP server around a fetch handler, with an orderly stop. */
export const createNodeServer: CreateServer = ({ fetch, host, port, readTimeoutMs, idleTimeoutMs, log }) => {
  const underWay = new Set<ServerResponse>();
  const connections = new Set<Socket>();
  let draining = false;

  const listener = getRequestListener(
    (request, { incoming }) => fetch(request, incoming.socket.remoteAddress ?? 'unknown'),
    {
      overrideGlobalObjects: false,
      errorHandler: (error) => {
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
    (incoming, outgoing) => {
      underWay.add(outgoing);
      outgoing.once('close', () => underWay.delete(outgoing));
      if (draining) outgoing.setHeader('Connection', 'close');
      void listener(incoming, outgoing);
    },
  );

  server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });

  function drain(): void {
    draining = true;
    for (const outgoing of underWay) if (!outgoing.headersSent) outgoing.setHeader('Connection', 'close');
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

/** Rejects when `server` breaks; nobody need be listening for that. */
export function brokenServer(server: Server): Promise<never> {
  const broken = new Promise<never>((_, reject) => server.on('error', reject));
  broken.catch(() => {});
  return broken;
}

/** Binds `server` and returns its URL. */
export function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const { address, family, port } = server.address() as AddressInfo;
      resolve(`http://${family === 'IPv6' ? `[${address}]` : address}:${port}`);
    });
  });
}
