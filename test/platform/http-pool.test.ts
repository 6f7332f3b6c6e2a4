import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { Exchange } from '../../src/platform/http-connection.ts';
import { createHttpPool, type Origin } from '../../src/platform/http-pool.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
let answer = OK;
/** What came on each connection. */
const received = new Map<Socket, string>();
const server = createServer((socket) => {
  received.set(socket, '');
  socket.on('data', (data) => {
    received.set(socket, `${received.get(socket)}${data}`);
    socket.write(answer);
  });
  socket.on('close', () => received.delete(socket));
  socket.on('error', () => {});
});

before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
after(() => server.close());

const newOrigin = (): Origin => ({ protocol: 'http:', hostname: '127.0.0.1', port: '', idle: [] });
const connected = () => connect((server.address() as AddressInfo).port, '127.0.0.1');

const connectAtOnce: Parameters<typeof createHttpPool>[0] = (_, callback) => {
  const socket = connected();
  socket.on('connect', () => callback(null, socket));
};

function exchangeOf(text: string): { exchange: Exchange; ended: Promise<unknown> } {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const exchange: Exchange = {
    text,
    answer: undefined,
    connection: undefined,
    over: false,
    end(error) {
      exchange.over = true;
      resolve(error ?? exchange.answer?.status);
    },
  };
  return { exchange, ended: promise };
}

test('one whose time is over before there was a connection is not sent, and the next one has the connection', async () => {
  const sockets: Socket[] = [];
  const connecting: (() => void)[] = [];
  const pool = createHttpPool((_, callback) => {
    const socket = connected();
    sockets.push(socket);
    connecting.push(() => callback(null, socket));
  });
  const origin = newOrigin();
  const [late, next] = [exchangeOf('late'), exchangeOf('next')];
  pool.start(origin, late.exchange);
  await once(sockets[0] as Socket, 'connect');
  late.exchange.over = true;
  connecting[0]?.();
  pool.start(origin, next.exchange);
  assert.equal(await next.ended, 200);
  assert.equal(sockets.length, 1);
  assert.deepEqual(Array.from(received.values()), ['next']);
  pool.close();
  await once(sockets[0] as Socket, 'close');
});

test('what arrives on an idle connection before the next request is not its response', async () => {
  const pool = createHttpPool(connectAtOnce);
  const happenings: ((idle: Socket) => void)[] = [(idle) => idle.write(OK), (idle) => idle.resetAndDestroy()];
  for (const happens of happenings) {
    const origin = newOrigin();
    const [first, next] = [exchangeOf('first'), exchangeOf('next')];
    pool.start(origin, first.exchange);
    assert.equal(await first.ended, 200);
    const [idle] = received.keys();
    // From here, the event loop looks at all sockets before it calls what is set for its next turn.
    await new Promise(setImmediate);
    happens(idle as Socket);
    pool.start(origin, next.exchange);
    assert.equal(await next.ended, 200);
    assert.deepEqual(Array.from(received.values()).at(-1), 'next');
    while (received.size > 1) await new Promise(setImmediate);
    for (const socket of received.keys()) socket.destroy();
    while (received.size > 0) await new Promise(setImmediate);
  }
  pool.close();
});

test('the end comes for what is connecting, and what comes about later is closed', async () => {
  const socket = connected();
  let callback = () => {};
  const pool = createHttpPool((_, connected) => {
    callback = () => connected(null, socket);
  });
  const { exchange, ended } = exchangeOf('x');
  pool.start(newOrigin(), exchange);
  await once(socket, 'connect');
  pool.close();
  assert.match(String(await ended), /connection closed/);
  callback();
  assert.ok(socket.destroyed);
  assert.equal(socket.bytesWritten, 0);
  const late = exchangeOf('x');
  pool.start(newOrigin(), late.exchange);
  assert.match(String(await late.ended), /connection closed/);
});

test('a thousand connections are idle at most, those that were used last', async () => {
  answer = OK.replace('\r\n\r\n', '\r\nKeep-Alive: timeout=60\r\n\r\n');
  const pool = createHttpPool(connectAtOnce);
  const origins = Array.from({ length: 1100 }, newOrigin);
  for (const [nth, origin] of origins.entries()) {
    // They may be kept for a shorter time.
    if (nth === 1000) answer = OK;
    const { exchange, ended } = exchangeOf('x');
    pool.start(origin, exchange);
    assert.equal(await ended, 200);
  }
  const idle = origins.map((origin) => origin.idle.length);
  assert.deepEqual([...new Set(idle.slice(0, 100)), ...new Set(idle.slice(100))], [0, 1]);
  pool.close();
  assert.ok(origins.every((origin) => origin.idle.length === 0));
});

test('of a request that is sent only the socket keeps the text', async () => {
  const pool = createHttpPool(connectAtOnce);
  const { exchange, ended } = exchangeOf('x');
  pool.start(newOrigin(), exchange);
  assert.equal(await ended, 200);
  assert.equal(exchange.text, '');
  pool.close();
});
