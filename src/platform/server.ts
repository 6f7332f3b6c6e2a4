import type { Log } from '../deps.ts';

type Options = {
  /** `peer` is the network address that the request came from. */
  fetch: (request: Request, peer: string) => Response | Promise<Response>;
  host: string;
  port: number;
  readTimeoutMs: number;
  idleTimeoutMs: number;
  /** Connections at a time; Node alone can refuse those beyond it. */
  maxConnections: number;
  /** Whether other processes listen on the port, too. Node needs no telling: its cluster knows. */
  reusePort: boolean;
  log: Log;
};

/** A runtime's HTTP server around a fetch handler. */
export type CreateServer = (options: Options) => {
  /** Returns the URL; rejects where the address cannot be bound. */
  listen(): Promise<string>;
  /** Rejects when the server breaks while running. */
  broken: Promise<never>;
  /** From now on each connection closes with its next answer, so that few are left when the listener closes. */
  drain(): void;
  /** Takes no new connections, lets requests finish and resolves when the last connection is gone. */
  close(): Promise<void>;
};
