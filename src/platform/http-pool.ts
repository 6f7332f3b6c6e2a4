import type { buildConnector } from 'undici/index.js';
import { afterPoll } from './after-poll.ts';
import { type Connection, connectionClosed, type Exchange, httpConnection } from './http-connection.ts';

/** How many connections may be idle. Beyond that, the one that has been idle for longest is closed. */
const MAX_IDLE = 1000;
const IDLE_MS = 4000;
const MAX_IDLE_MS = 30_000;
/** How much earlier than the other side we close, so that no request meets the end of its connection. */
const IDLE_MARGIN_MS = 2000;
const SWEEP_MS = 1000;

/** Where connections lead, and those of them that are idle, the last used at the end. */
export type Origin = buildConnector.Options & { readonly idle: Connection[] };

type Pool = {
  connect: buildConnector.connector;
  open: Set<Connection>;
  connecting: Set<Exchange>;
  idleCount: number;
  closed: boolean;
};

/**
 * Keeps the connections to all origins. Those in use have no limit here: the dispatcher limits what is under way.
 * `close` destroys all of them.
 */
export function createHttpPool(connect: buildConnector.connector) {
  const pool: Pool = { connect, open: new Set(), connecting: new Set(), idleCount: 0, closed: false };
  const sweep = setInterval(closeExpired, SWEEP_MS, pool);
  sweep.unref();
  return {
    start: (origin: Origin, exchange: Exchange) => start(pool, origin, exchange),
    close(): void {
      pool.closed = true;
      clearInterval(sweep);
      for (const exchange of pool.connecting) exchange.end(connectionClosed());
      for (const connection of pool.open) connection.destroy();
    },
  };
}

function start(pool: Pool, origin: Origin, exchange: Exchange): void {
  const connection = pool.closed ? undefined : take(pool, origin);
  if (pool.closed) exchange.end(connectionClosed());
  else if (connection) afterPoll(() => startOnIdle(pool, connection, origin, exchange));
  else startOnNew(pool, origin, exchange);
}

/** Its end, or what nobody asked for, may have arrived unread when it was taken: that must not become the response. */
function startOnIdle(pool: Pool, connection: Connection, origin: Origin, exchange: Exchange): void {
  if (pool.open.has(connection)) startOn(pool, connection, origin, exchange);
  else start(pool, origin, exchange);
}

function startOnNew(pool: Pool, origin: Origin, exchange: Exchange): void {
  pool.connecting.add(exchange);
  pool.connect(origin, (error, socket) => {
    pool.connecting.delete(exchange);
    if (error) return exchange.end(error);
    const connection = httpConnection(socket, {
      onIdle(idleSeconds) {
        const idleMs = idleSeconds === undefined ? IDLE_MS : idleSeconds * 1000 - IDLE_MARGIN_MS;
        if (idleMs > 0) keep(pool, connection, origin, Math.min(idleMs, MAX_IDLE_MS));
        else connection.destroy();
      },
      onClose: () => forget(pool, connection, origin),
    });
    pool.open.add(connection);
    if (pool.closed) connection.destroy();
    else startOn(pool, connection, origin, exchange);
  });
}

function startOn(pool: Pool, connection: Connection, origin: Origin, exchange: Exchange): void {
  // Its time was over before there was a connection: it must not be sent any more.
  if (exchange.over) keep(pool, connection, origin, IDLE_MS);
  else connection.start(exchange);
}

function take(pool: Pool, { idle }: Origin): Connection | undefined {
  for (let connection = idle.pop(); connection; connection = idle.pop()) {
    pool.idleCount--;
    const inTime = performance.now() < connection.expiresAt;
    connection.idleSince = Infinity;
    connection.expiresAt = Infinity;
    if (inTime) return connection;
    connection.destroy();
  }
  return undefined;
}

function keep(pool: Pool, connection: Connection, { idle }: Origin, idleMs: number): void {
  if (pool.idleCount >= MAX_IDLE) closeLongestIdle(pool);
  pool.idleCount++;
  connection.idleSince = performance.now();
  connection.expiresAt = connection.idleSince + idleMs;
  idle.push(connection);
}

function forget(pool: Pool, connection: Connection, { idle }: Origin): void {
  pool.open.delete(connection);
  const place = idle.indexOf(connection);
  if (place === -1) return;
  idle.splice(place, 1);
  pool.idleCount--;
}

function closeExpired({ open }: Pool): void {
  const now = performance.now();
  for (const connection of open) if (connection.expiresAt <= now) connection.destroy();
}

function closeLongestIdle({ open }: Pool): void {
  let longest: Connection | undefined;
  for (const connection of open) if (connection.idleSince < (longest?.idleSince ?? Infinity)) longest = connection;
  longest?.destroy();
}
