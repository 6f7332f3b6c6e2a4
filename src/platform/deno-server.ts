import { httpUrl } from './listen.ts';
import { internalError, malformedRequest } from './refusal.ts';
import type { CreateServer } from './server.ts';

/** The parts of Deno's global that are used. */
declare const Deno: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    onListen(address: Address): void;
    onError(error: unknown): Response;
    handler(request: Request, info: { remoteAddr: Address }): Response | Promise<Response>;
  }): DenoServer;
};
/** Both are missing for a Unix socket, which Deno can be told to listen on. */
type Address = { hostname?: string; port?: number };
type DenoServer = { finished: Promise<void>; shutdown(): Promise<void> };

/** Creates Deno's HTTP server for a fetch handler, with an orderly stop. It has no time-outs and no limits. */
export const createDenoServer: CreateServer = ({ fetch, host, port, reusePort, policy, log }) => {
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {});
  let server: DenoServer | undefined;
  let draining = false;

  async function handler(request: Request, { remoteAddr }: { remoteAddr: Address }): Promise<Response> {
    const coding = request.headers.get('Transfer-Encoding') ?? 'chunked';
    // Deno's parser accepts both.
    if (!URL.canParse(request.url) || coding.toLowerCase() !== 'chunked') {
      return malformedRequest(policy, request.headers.get('X-Request-Id'));
    }
    const response = await fetch(request, remoteAddr.hostname ?? 'unknown');
    if (draining) response.headers.set('Connection', 'close');
    return response;
  }

  return {
    listen: async () => {
      const listening = Promise.withResolvers<string>();
      server = Deno.serve({
        hostname: host,
        port,
        reusePort,
        handler,
        onListen: (at) => listening.resolve(httpUrl(at.hostname ?? host, at.port ?? port)),
        onError: (error) => {
          log.error('request failed outside the app', { error });
          return internalError(policy);
        },
      });
      server.finished.catch(broken.reject);
      return listening.promise;
    },
    broken: broken.promise,
    drain: () => {
      draining = true;
    },
    close: async () => {
      draining = true;
      await server?.shutdown();
    },
  };
};
