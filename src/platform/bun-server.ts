import { malformedRequest } from './refusal.ts';
import type { CreateServer } from './server.ts';

/** What is used of Bun's global. */
declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    idleTimeout: number;
    error(error: unknown): Response;
    fetch(request: Request, server: BunServer): Response | Promise<Response>;
  }): BunServer;
};
type BunServer = {
  url: URL;
  requestIP(request: Request): { address: string } | null;
  stop(closeActiveConnections?: boolean): Promise<void>;
};

/** What Bun takes at most, in seconds. */
const MAX_IDLE_S = 255;

/** Bun's HTTP server around a fetch handler, with an orderly stop. Its one time-out is for connections that are silent. */
export const createBunServer: CreateServer = ({ fetch, host, port, idleTimeoutMs, reusePort, log }) => {
  let server: BunServer | undefined;
  let draining = false;

  return {
    listen: async () => {
      server = Bun.serve({
        hostname: host,
        port,
        reusePort,
        idleTimeout: Math.min(MAX_IDLE_S, Math.ceil(idleTimeoutMs / 1000)),
        fetch: async (asked, server) => {
          const request = withUrl(asked);
          if (!request) return malformedRequest();
          const response = await fetch(request, server.requestIP(asked)?.address ?? 'unknown');
          if (draining) response.headers.set('Connection', 'close');
          return response;
        },
        error: (error) => {
          log.error('request failed outside the app', { error });
          return new Response(null, { status: 500 });
        },
      });
      return server.url.href.replace(/\/$/, '');
    },
    // Bun tells of no server that breaks: it goes on accepting.
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

/** Undefined where no URL can be made, or two: Bun gives two Hosts as a list. HTTP/1.0 does without, and has a path alone. */
function withUrl(request: Request): Request | undefined {
  const host = request.headers.get('Host');
  if (host === null && request.url.startsWith('/')) return new Request(`http://localhost${request.url}`, request);
  return URL.canParse(request.url) && !host?.includes(',') ? request : undefined;
}
