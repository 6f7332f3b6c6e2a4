import type { buildConnector } from 'undici/index.js';
import { SendError } from '../dispatcher/channels/send.ts';
import { afterPoll } from './after-poll.ts';
import { type Connection, type Exchange, httpConnection } from './http-connection.ts';

/** How many connections may be idle. Beyond that, the one that has been idle for longest is closed. */
const MAX_IDLE = 1000;
const IDLE_MS = 4000;
const MAX_IDLE_MS = 30_000;
/** How much earlier than the other side we close, so that no request meets the end of its connection. */
const IDLE_MARGIN_MS = 2000;
const SWEEP_MS = 1000;

const closedError = () => new SendError('connection closed');

/** Where connections lead, and those of them that are idle, the last used at the end. */
export type Origin = buildConnector.Options & { readonly idle: Connection[] };

/**
 * Keeps the connections to all origins. Those in use have no limit here: the dispatcher limits what is under way.
 * `close` destroys all of them.
 */
export function createHttpPool(connect: buildConnector.connector) {
  const open = new Set<Connection>();
  const connecting = new Set<Exchange>();
  let idleCount = 0;
  let closed = false;
  const sweep = setInterval(closeExpired, SWEEP_MS);
  sweep.unref();

  function closeExpired(): void {
    const now = performance.now();
    for (const connection of open) if (connection.expiresAt <= now) connection.destroy(closedError());
  }

  function closeLongestIdle(): void {
    let longest: Connection | undefined;
    for (const connection of open) if (connection.idleSince < (longest?.idleSince ?? Infinity)) longest = connection;
    longest?.destroy(closedError());
  }

  function take({ idle }: Origin): Connection | undefined {
    for (let connection = idle.pop(); connection; connection = idle.pop()) {
      idleCount--;
      const inTime = performance.now() < connection.expiresAt;
      connection.idleSince = Infinity;
      connection.expiresAt = Infinity;
      if (inTime) return connection;
      connection.destroy(closedError());
    }
    return undefined;
  }

  function keep(connection: Connection, { idle }: Origin, idleMs: number): void {
    if (idleCount >= MAX_IDLE) closeLongestIdle();
    idleCount++;
    connection.idleSince = performance.now();
    connection.expiresAt = connection.idleSince + idleMs;
    idle.push(connection);
  }

  function forget(connection: Connection, { idle }: Origin): void {
    open.delete(connection);
    const place = idle.indexOf(connection);
    if (place === -1) return;
    idle.splice(place, 1);
    idleCount--;
  }

  function startOn(connection: Connection, origin: Origin, exchange: Exchange): void {
    // Its time was over before there was a connection: it must not be sent any more.
    if (exchange.over) keep(connection, origin, IDLE_MS);
    else connection.start(exchange);
  }

  function startOnNew(origin: Origin, exchange: Exchange): void {
    connecting.add(exchange);
    connect(origin, (error, socket) => {
      connecting.delete(exchange);
      if (error) return exchange.end(error);
      const connection = httpConnection(socket, {
        onIdle(idleSeconds) {
          const idleMs = idleSeconds === undefined ? IDLE_MS : idleSeconds * 1000 - IDLE_MARGIN_MS;
          if (idleMs > 0) keep(connection, origin, Math.min(idleMs, MAX_IDLE_MS));
          else connection.destroy(closedError());
        },
        onClose: () => forget(connection, origin),
      });
      open.add(connection);
      if (closed) connection.destroy(closedError());
      else startOn(connection, origin, exchange);
    });
  }

  function start(origin: Origin, exchange: Exchange): void {
    const connection = closed ? undefined : take(origin);
    if (closed) exchange.end(closedError());
    else if (connection) afterPoll(() => startOnIdle(connection, origin, exchange));
    else startOnNew(origin, exchange);
  }

  /** Its end, or what nobody asked for, may have arrived unread when it was taken: that must not become the response. */
  function startOnIdle(connection: Connection, origin: Origin, exchange: Exchange): void {
    if (open.has(connection)) startOn(connection, origin, exchange);
    else start(origin, exchange);
  }

  return {
    start,
    close(): void {
      closed = true;
      clearInterval(sweep);
      for (const exchange of connecting) exchange.end(closedError());
      for (const connection of open) connection.destroy(closedError());
    },
  };
}
