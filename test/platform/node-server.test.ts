import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import type { Log } from '../../src/deps.ts';
import { createNodeServer } from '../../src/platform/node-server.ts';

const BIG = 'x'.repeat(16 * 1024 * 1024);
const get = (path: string, ...headers: string[]) =>
  [`GET ${path} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n');

/** Starts a server of `/big`, an answer that no network takes at once, and `/slow`, which takes `slowMs` to make. */
async function start(
  t: TestContext,
  { idleTimeoutMs = 60_000, readTimeoutMs = 60_000, requestTimeoutMs = 60_000, slowMs = 0 } = {},
) {
  const warnings: Record<string, unknown>[] = [];
  const begun: string[] = [];
  const log = { warn: (msg: string, more: object) => warnings.push({ msg, ...more }) } as unknown as Log;
  const server = createNodeServer({
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      begun.push(pathname);
      if (pathname === '/slow') await delay(slowMs);
      return new Response(pathname === '/big' ? BIG : pathname);
    },
    host: '127.0.0.1',
    port: 0,
    readTimeoutMs,
    idleTimeoutMs,
    requestTimeoutMs,
    maxConnections: 100,
    reusePort: false,
    policy: { limit: 600, window: 60 },
    log,
  });
  const url = await server.listen();
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return server.close();
  });
  const open = (said = '') => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    socket.write(said);
    return socket;
  };
  return { server, open, warnings, begun };
}

function assertProblem(answer: string, code: string): void {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  const problem = JSON.parse(body);
  assert.equal(problem.type, `/problems/${code}`);
  assert.match(head, new RegExp(`^HTTP/1\\.1 ${problem.status} `));
  assert.match(head, new RegExp(`^X-Request-Id: ${problem.requestId}\\r?$`, 'im'));
  assert.match(head, /^Connection: close\r?$/im);
}

const TUNNEL = 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n';
const statusesIn = (answers: string) => answers.match(/(?<=HTTP\/1\.1 )\d+/g)?.map(Number) ?? [];

describe('an HTTP server on Node', () => {
  test('sends what it has answered to the end, when it stops meanwhile', async (t) => {
    const { server, open } = await start(t);
    const silent = open();
    await once(silent, 'connect');
    const slow = open(get('/big'));
    await once(slow, 'readable');
    const closed = server.close();
    // It is closed when connections without a request are.
    await once(silent.resume(), 'close');
    assert.ok((await text(slow)).endsWith(BIG));
    await closed;
  });

  test('makes the next answer in its time, however slowly the one before was taken', async (t) => {
    const { open } = await start(t, { idleTimeoutMs: 500, slowMs: 1500 });
    const socket = open(get('/big') + get('/slow', 'Connection: close'));
    let answers = '';
    for await (const chunk of socket) {
      answers += chunk;
      await delay(5);
    }
    assert.deepEqual(statusesIn(answers), [200, 200]);
  });

  test('cuts who asks for most ahead, once too many wait, and nobody else', async (t) => {
    const { open } = await start(t);
    const greedy = open(get('/big') + get('/').repeat(4_000)).pause();
    while (!greedy.closed) {
      const modest = open(get('/') + get('/', 'Connection: close'));
      assert.deepEqual(statusesIn(await text(modest)), [200, 200]);
      // A client that does not read notices a reset by writing; an empty line is not a request.
      greedy.write('\r\n');
    }
  });

  test('reads connections by turns, once many send hundreds of requests in one packet, and answers them all', async (t) => {
    const { open } = await start(t);
    let [inTurn, most, over] = [0, 0, false];
    const emit = EventEmitter.prototype.emit;
    t.mock.method(Server.prototype, 'emit', function (this: Server, name: string, ...of: unknown[]) {
      if (name === 'request') inTurn++;
      return emit.call(this, name, ...of);
    });
    const endTurn = () => {
      most = Math.max(most, inTurn);
      inTurn = 0;
      if (!over) setImmediate(endTurn);
    };
    endTurn();
    const sockets = Array.from({ length: 50 }, () => open());
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    for (const socket of sockets) socket.write(get('/').repeat(99) + get('/', 'Connection: close'));
    for (const answers of await Promise.all(sockets.map(text))) {
      assert.deepEqual(statusesIn(answers), Array(100).fill(200));
    }
    over = true;
    assert.ok(most < 1_300, `${most} in one turn`);
  });

  test('begins requests few at a time, probes at once, and none for who has left', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { open, begun } = await start(t, { slowMs: 1000 });
    const isSlow = (path: string) => path === '/slow';
    const ask = (path: string) => text(open(get(path, 'Connection: close'))).then(statusesIn);
    const slow = Array.from({ length: 90 }, () => open(get('/slow')));
    while (begun.length < 64) await turn();
    assert.deepEqual([await ask('/health'), await ask('/ready?now')], [[200], [200]]);
    assert.equal(begun.filter(isSlow).length, 64);
    for (const socket of slow) socket.resetAndDestroy();
    assert.deepEqual(await ask('/health'), [200], 'after which it knows who has left');
    const last = ask('/');
    while (!begun.includes('/')) {
      t.mock.timers.tick(5);
      await turn();
    }
    assert.deepEqual(await last, [200]);
    assert.equal(begun.filter(isSlow).length, 64);
  });

  test('answers what is under way before it says that the next request took too long to arrive', async (t) => {
    const { open } = await start(t, { readTimeoutMs: 100, slowMs: 1000 });
    const socket = open(`${get('/slow')}GET / HT`);
    assert.deepEqual(statusesIn(await text(socket)), [200, 408]);
  });

  test('survives a client that asks for a tunnel while a response is due, and resets the connection', async (t) => {
    const { open, begun } = await start(t, { slowMs: 500 });
    const socket = open(get('/slow') + TUNNEL);
    while (!begun.includes('/slow')) await turn();
    socket.resetAndDestroy();
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(statusesIn(await text(open(get('/slow', 'Connection: close')))), [200]);
    }
  });

  test('cuts a client that asks for a tunnel while a response is due, and does not read it', async (t) => {
    const { open } = await start(t, { idleTimeoutMs: 100, requestTimeoutMs: 100 });
    const socket = open(get('/big') + TUNNEL).pause();
    while (!socket.closed) {
      // A client that does not read notices a reset by writing.
      socket.write('\r\n');
      await delay(10);
    }
  });

  test('sends all responses that are due before a refusal, however long they take together', async (t) => {
    const { open } = await start(t, { idleTimeoutMs: 500, requestTimeoutMs: 500, slowMs: 600 });
    const socket = open(get('/slow').repeat(4) + TUNNEL);
    assert.deepEqual(statusesIn(await text(socket)), [200, 200, 200, 200, 400]);
  });

  test('logs how many requests it refuses, by code: the first at once, more in ten seconds or when it stops', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { server, open, warnings } = await start(t);
    for (const said of ['nonsense\r\n\r\n', TUNNEL, 'GET / HTTP/1.1\r\n\r\n']) {
      assert.deepEqual(statusesIn(await text(open(said))), [400]);
    }
    assert.deepEqual(statusesIn(await text(open(get('/', `X: ${'x'.repeat(20_000)}`)))), [431]);
    const first = { msg: 'requests refused', code: 'malformed-request', count: 1 };
    assert.deepEqual(warnings, [first]);
    t.mock.timers.tick(10_000);
    const second = [
      { ...first, count: 2 },
      { ...first, code: 'headers-too-large' },
    ];
    assert.deepEqual(warnings, [first, ...second]);
    assert.deepEqual(statusesIn(await text(open('nonsense\r\n\r\n'))), [400]);
    server.drain();
    assert.deepEqual(warnings, [first, ...second, first]);
  });

  test('sends an answer to its end that closes the connection, whatever comes meanwhile', async (t) => {
    const { open } = await start(t);
    const socket = open(get('/big', 'Connection: close'));
    await once(socket, 'readable');
    socket.write('nonsense\r\n\r\n');
    assert.ok((await text(socket)).endsWith(BIG));
  });

  test('says as a problem that a request took too long to arrive', async (t) => {
    const { open } = await start(t, { readTimeoutMs: 100 });
    assertProblem(await text(open('GET / HT')), 'request-timeout');
  });

  test('says as a problem that HTTP/1.1 goes with a Host, which HTTP/1.0 does without', async (t) => {
    const { open } = await start(t);
    assertProblem(await text(open('GET / HTTP/1.1\r\n\r\n')), 'malformed-request');
    assert.deepEqual(statusesIn(await text(open('GET / HTTP/1.0\r\n\r\n'))), [200]);
  });
});
