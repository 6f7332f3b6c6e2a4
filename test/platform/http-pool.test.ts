import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { Exchange } from '../../src/platform/http-connection.ts';
import { createHttpPool } from '../../src/platform/http-pool.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
/** What came on each connection. */
const received = new Map<Socket, string>();
const server = createServer((socket) => {
  received.set(socket, '');
  socket.on('data', (data) => {
    received.set(socket, `${received.get(socket)}${data}`);
    socket.write(OK);
  });
  socket.on('close', () => received.delete(socket));
});

before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
after(() => server.close());

const newOrigin = () => ({ protocol: 'http:', hostname: '127.0.0.1', port: '', idle: [] });
const connected = () => connect((server.address() as AddressInfo).port, '127.0.0.1');

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
  while (origin.idle.length === 0) await new Promise(setImmediate);
  pool.start(origin, next.exchange);
  assert.equal(await next.ended, 200);
  assert.equal(sockets.length, 1);
  assert.deepEqual(Array.from(received.values()), ['next']);
  pool.close();
  await once(sockets[0] as Socket, 'close');
});

test('a connection that comes about after the end is closed, and nothing is sent on it', async () => {
  const socket = connected();
  let callback = () => {};
  const pool = createHttpPool((_, connected) => {
    callback = () => connected(null, socket);
  });
  const { exchange, ended } = exchangeOf('x');
  pool.start(newOrigin(), exchange);
  await once(socket, 'connect');
  pool.close();
  callback();
  assert.match(String(await ended), /connection closed/);
  assert.ok(socket.destroyed);
  assert.equal(socket.bytesWritten, 0);
});

test('a thousand connections are idle at most', async () => {
  const pool = createHttpPool((_, callback) => {
    const socket = connected();
    socket.on('connect', () => callback(null, socket));
  });
  const origins = Array.from({ length: 1100 }, newOrigin);
  for (const origin of origins) {
    const { exchange, ended } = exchangeOf('x');
    pool.start(origin, exchange);
    assert.equal(await ended, 200);
  }
  while (origins.at(-1)?.idle.length === 0) await new Promise(setImmediate);
  const idle = origins.map(({ idle }) => idle.length);
  assert.deepEqual([...new Set(idle.slice(0, 100)), ...new Set(idle.slice(100))], [0, 1], 'the oldest were closed');
  pool.close();
  assert.ok(origins.every(({ idle }) => idle.length === 0));
});
