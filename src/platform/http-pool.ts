import type { buildConnector } from 'undici/index.js';
import { SendError } from '../dispatcher/channels/send.ts';
import { type Connection, type Exchange, httpConnection } from './http-connection.ts';
import { nextTurn } from './next-turn.ts';

/** How many connections may be idle. Beyond that, the one that expires first is closed. */
const MAX_IDLE = 1000;
const IDLE_MS = 4000;
const MAX_IDLE_MS = 30_000;
/** How much earlier than the other side we close, so that no request meets the end of its connection. */
const IDLE_MARGIN_MS = 2000;
const SWEEP_MS = 1000;

/** Where connections lead, and those of them that are idle, the last used at the end. */
export type Origin = buildConnector.Options & { readonly idle: Connection[] };

/**
 * Keeps the connections to all origins. Those in use have no limit here: the dispatcher limits what is under way.
 * `close` destroys all of them.
 */
export function createHttpPool(connect: buildConnector.connector) {
  /** Those that are idle have an end. */
  const open = new Map<Connection, Origin>();
  let idleCount = 0;
  let closed = false;
  const sweep = setInterval(closeExpired, SWEEP_MS);
  sweep.unref();

  function closeExpired(): void {
    const now = performance.now();
    for (const connection of open.keys()) if (connection.expiresAt <= now) close(connection);
  }

  function closeFirstToExpire(): void {
    let first: Connection | undefined;
    for (const connection of open.keys()) {
      if (connection.expiresAt < (first?.expiresAt ?? Infinity)) first = connection;
    }
    if (first) close(first);
  }

  const close = (connection: Connection) => connection.destroy(new SendError('connection closed'));

  function take({ idle }: Origin): Connection | undefined {
    for (let connection = idle.pop(); connection; connection = idle.pop()) {
      idleCount--;
      const { expiresAt } = connection;
      connection.expiresAt = Infinity;
      if (expiresAt > performance.now()) return connection;
      close(connection);
    }
    return undefined;
  }

  function keep(connection: Connection, idleMs: number): void {
    const origin = open.get(connection);
    if (!origin) return;
    if (idleCount >= MAX_IDLE) closeFirstToExpire();
    connection.expiresAt = performance.now() + idleMs;
    idleCount++;
    origin.idle.push(connection);
  }

  function onIdle(connection: Connection, idleSeconds: number | undefined): void {
    const idleMs = idleSeconds === undefined ? IDLE_MS : Math.min(idleSeconds * 1000 - IDLE_MARGIN_MS, MAX_IDLE_MS);
    // Some servers close a connection right after a response that did not say so: that is seen by then.
    if (idleMs > 0) nextTurn(() => keep(connection, idleMs));
    else close(connection);
  }

  function onClose(connection: Connection): void {
    const origin = open.get(connection);
    open.delete(connection);
    const place = origin?.idle.indexOf(connection) ?? -1;
    if (place === -1) return;
    origin?.idle.splice(place, 1);
    idleCount--;
  }

  function startOnNew(origin: Origin, exchange: Exchange): void {
    connect(origin, (error, socket) => {
      if (error) return exchange.end(error);
      if (closed) {
        socket.destroy();
        exchange.end(new SendError('connection closed'));
        return;
      }
      const connection = httpConnection(socket, { onIdle, onClose });
      open.set(connection, origin);
      // Its time was over before there was a connection: it must not be sent any more.
      if (exchange.over) onIdle(connection, undefined);
      else connection.start(exchange);
    });
  }

  return {
    start(origin: Origin, exchange: Exchange): void {
      const connection = take(origin);
      if (connection) connection.start(exchange);
      else startOnNew(origin, exchange);
    },
    close(): void {
      closed = true;
      clearInterval(sweep);
      for (const connection of open.keys()) close(connection);
    },
  };
}
