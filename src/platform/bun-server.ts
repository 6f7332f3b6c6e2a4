import { internalError, malformedRequest } from './refusal.ts';
import type { CreateServer } from './server.ts';

/** The parts of Bun's global that are used. */
declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    idleTimeout: number;
    maxRequestBodySize: number;
    error(error: unknown): Response;
    fetch(request: Request, server: BunServer): Response | Promise<Response>;
  }): BunServer;
};
type BunServer = {
  url: URL;
  requestIP(request: Request): { address: string } | null;
  stop(closeActiveConnections?: boolean): Promise<void>;
};

/** The maximum of Bun's idle time-out, in seconds. A longer one is none at all. */
const MAX_IDLE_S = 255;
/** Milliseconds after its deadline within which a request is certain to be answered. */
const ANSWER_MS = 2500;

/** Creates Bun's HTTP server for a fetch handler, with an orderly stop. Its only time-out is that for idle connections. */
export const createBunServer: CreateServer = (options) => {
  const { fetch, host, port, idleTimeoutMs, requestTimeoutMs, reusePort, policy, log } = options;
  // Bun also treats a connection as idle while its response is being produced.
  const idleMs = Math.max(idleTimeoutMs, requestTimeoutMs + ANSWER_MS);
  let server: BunServer | undefined;
  let draining = false;

  return {
    listen: async () => {
      server = Bun.serve({
        hostname: host,
        port,
        reusePort,
        idleTimeout: idleMs > MAX_IDLE_S * 1000 ? 0 : Math.ceil(idleMs / 1000),
        // The app has a limit, and a problem response for it.
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        fetch: async (asked, server) => {
          const request = withUrl(asked);
          if (!request) return malformedRequest(policy, asked.headers.get('X-Request-Id'));
          const response = await fetch(request, server.requestIP(asked)?.address ?? 'unknown');
          if (draining) response.headers.set('Connection', 'close');
          return response;
        },
        error: (error) => {
          log.error('request failed outside the app', { error });
          return internalError(policy);
        },
      });
      return server.url.href.replace(/\/$/, '');
    },
    // Bun never reports a broken server: it keeps accepting.
    broken: new Promise<never>(() => {}),
    drain: () => {
      draining = true;
    },
    close: async () => {
      draining = true;
      await server?.stop();
    },
  };
};

/** Returns undefined for an invalid URL, or for two Hosts, which Bun joins to a list. HTTP/1.0 may send only a path. */
function withUrl(request: Request): Request | undefined {
  const host = request.headers.get('Host');
  if (host === null && request.url.startsWith('/')) return new Request(`http://localhost${request.url}`, request);
  return URL.canParse(request.url) && !host?.includes(',') ? request : undefined;
}
