import { createServer } from 'node:http';
import type { Log } from '../deps.ts';
import { brokenServer, listen } from './listen.ts';

type Options = { host: string; port: number; contentType: string; expose: () => Promise<string>; log: Log };

/** Creates a server for `/metrics` only. */
export function createMetricsServer({ host, port, contentType, expose, log }: Options) {
  const server = createServer(async (request, response) => {
    if (request.url?.split('?', 1)[0] !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    try {
      const text = await expose();
      response.writeHead(200, { 'Content-Type': contentType }).end(text);
    } catch (error) {
      log.error('metrics collection failed', { error });
      response.writeHead(503).end();
    }
  });
  return {
    listen: () => listen(server, host, port),
    broken: brokenServer(server),
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
