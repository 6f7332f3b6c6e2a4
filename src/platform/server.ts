import type { Log } from '../deps.ts';
import type { Policy } from '../http/rate-limit.ts';

type Options = {
  /** `peer` is the network address that the request came from. */
  fetch: (request: Request, peer: string) => Response | Promise<Response>;
  host: string;
  port: number;
  readTimeoutMs: number;
  idleTimeoutMs: number;
  /** The deadline of a request, for a server that considers its connection idle meanwhile. */
  requestTimeoutMs: number;
  /** How many connections may be open. Only Node can refuse further ones. */
  maxConnections: number;
  /** Whether other processes listen on the port, too. Not used on Node, where cluster shares it. */
  reusePort: boolean;
  /** The rate limit that responses state. */
  policy: Policy;
  log: Log;
};

/** A runtime's HTTP server for a fetch handler. */
export type CreateServer = (options: Options) => {
  /** Binds the address and returns the URL. Rejects if it cannot be bound. */
  listen(): Promise<string>;
  /** Rejects when the running server fails. */
  broken: Promise<never>;
  /** From now on, closes each connection after its next response, so that few are left when the listener closes. */
  drain(): void;
  /** Closes the listener, lets requests finish, and resolves when the last connection is closed. */
  close(): Promise<void>;
};
