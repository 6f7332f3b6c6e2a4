import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { type Send, SendError } from '../../src/dispatcher/channels/send.ts';
import { fetchSend } from '../../src/platform/send-fetch.ts';
import { socketSend } from '../../src/platform/send-sockets.ts';
import { type Answering, startNameServer } from '../support/name-server.ts';
import { selfSigned } from '../support/self-signed.ts';

/** For requests that must time out; the others have far more. */
const TIMEOUT_MS = 300;
const AMPLE_MS = 10_000;
const closing: (() => void | Promise<void>)[] = [];
after(async () => {
  for (const close of closing) await close();
});

function overSockets(options: Partial<Parameters<typeof socketSend>[0]> = {}) {
  const created = socketSend({ allowPrivate: true, timeoutMs: AMPLE_MS, ...options });
  closing.push(created.close);
  return created.send;
}

function overFetch(timeoutMs = AMPLE_MS, allowPrivate = true): Send {
  return fetchSend({ allowPrivate, timeoutMs });
}

const senders: [name: string, send: Send, hasty: Send][] = [
  ['sockets', overSockets(), overSockets({ timeoutMs: TIMEOUT_MS })],
  ['fetch', overFetch(), overFetch(TIMEOUT_MS)],
];

async function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return (server.address() as AddressInfo).port;
}

function closesAfterwards(server: Server, sockets: Set<Socket>): void {
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
}

async function httpServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  closesAfterwards(server, new Set());
  return `http://127.0.0.1:${await listening(server)}/hook?a=1`;
}

/** A server that speaks TCP alone; `onRequest` runs once per connection, when the request has begun to arrive. */
async function tcpServer(onRequest: (socket: Socket) => void): Promise<string> {
  const server = createTcpServer((socket) => socket.once('data', () => onRequest(socket)));
  closesAfterwards(server, new Set());
  return `http://127.0.0.1:${await listening(server)}/`;
}

const request = (url: string) => ({
  url,
  headers: { 'content-type': 'application/json', 'webhook-id': 'x' },
  body: '{"name":"Zoë"}',
});

async function fails(send: Send, url: string, reason: string): Promise<number> {
  const start = performance.now();
  await assert.rejects(send(request(url)), (error) => error instanceof SendError && error.message === reason);
  return performance.now() - start;
}

/** Drips one byte a second, from now on and until the other side goes. */
function drip(socket: Socket): void {
  const timer = setInterval(() => socket.write('x'), 1000);
  socket.write('x');
  socket.on('close', () => clearInterval(timer));
}

for (const [name, send, hasty] of senders) {
  test(`${name}: posts the bytes it was given and tells status and Retry-After`, async () => {
    let seen: unknown;
    const url = await httpServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { method, url, headers } = request;
      seen = [method, url, headers['webhook-id'], headers['content-type'], Buffer.concat(chunks).toString()];
      response.writeHead(429, { 'Retry-After': '7' }).end('busy');
    });
    assert.deepEqual(await send(request(url)), { status: 429, retryAfter: '7' });
    assert.deepEqual(seen, ['POST', '/hook?a=1', 'x', 'application/json', '{"name":"Zoë"}']);
  });

  test(`${name}: keeps the connection for the next request`, async () => {
    const ports = new Set<number | undefined>();
    const url = await httpServer((request, response) => {
      ports.add(request.socket.remotePort);
      response.end('ok');
    });
    for (let i = 0; i < 10; i++) assert.equal((await send(request(url))).status, 200);
    // fetch reports the end of the response before its connection is free.
    assert.ok(ports.size <= (name === 'sockets' ? 1 : 2), `${ports.size} connections`);
  });

  test(`${name}: follows no redirect`, async () => {
    let calls = 0;
    const elsewhere = await httpServer((_, response) => {
      calls++;
      response.end();
    });
    for (const location of ['http://169.254.169.254/latest/meta-data/', elsewhere]) {
      for (const status of [301, 302, 303, 307, 308]) {
        const url = await httpServer((_, response) => response.writeHead(status, { Location: location }).end());
        assert.deepEqual(await send(request(url)), { status, retryAfter: null });
      }
    }
    assert.equal(calls, 0);
  });

  test(`${name}: an interim answer is not the answer`, async () => {
    const url = await httpServer((_, response) => {
      response.writeEarlyHints({ link: '</x>; rel=preload' });
      response.writeHead(204).end();
    });
    assert.equal((await send(request(url))).status, 204);
  });

  test(`${name}: a server that accepts and says nothing`, async () => {
    const url = await tcpServer(() => {});
    const ms = await fails(hasty, url, 'timed out');
    assert.ok(ms >= TIMEOUT_MS - 20, `${ms} ms`);
  });

  test(`${name}: headers at one byte a second`, async () => {
    const url = await tcpServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nX-Slow: ');
      drip(socket);
    });
    await fails(hasty, url, 'timed out');
  });

  test(`${name}: a body at one byte a second is no answer, whatever its status, and ends with the time-out`, async () => {
    let closed = Promise.resolve();
    const url = await tcpServer((socket) => {
      closed = new Promise((resolve) => socket.on('close', () => resolve()));
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
      drip(socket);
    });
    await fails(hasty, url, 'timed out');
    await closed;
  });

  test(`${name}: of a body of 1 GB little is read, and the connection is dropped`, async () => {
    for (const headers of [{ 'Content-Length': String(2 ** 30) }, {}]) {
      const chunk = Buffer.alloc(65_536, 'x');
      let sent = 0;
      let dropped = () => {};
      const closed = new Promise<void>((resolve) => {
        dropped = resolve;
      });
      const url = await httpServer((_, response) => {
        response.writeHead(200, headers);
        const more = () => {
          while (sent < 2 ** 30 && !response.destroyed) {
            sent += chunk.length;
            if (!response.write(chunk)) return;
          }
        };
        response.on('drain', more).on('close', dropped);
        more();
      });
      const before = process.memoryUsage().rss;
      assert.equal((await send(request(url))).status, 200);
      await closed;
      // As much as the kernel's buffers for one connection hold is sent, wanted or not.
      assert.ok(sent < 16 * 2 ** 20, `${sent} bytes were sent`);
      assert.ok(process.memoryUsage().rss - before < 64 * 2 ** 20);
    }
  });

  test(`${name}: an answer of exactly 16 KB leaves the connection in use`, async () => {
    const ports = new Set<number | undefined>();
    const url = await httpServer((request, response) => {
      ports.add(request.socket.remotePort);
      response.end(Buffer.alloc(16_384));
    });
    for (let i = 0; i < 10; i++) assert.equal((await send(request(url))).status, 200);
    assert.ok(ports.size <= 2, `${ports.size} connections`);
  });

  test(`${name}: a server that closes without a word, in its headers, or in its body`, async () => {
    await fails(send, await tcpServer((socket) => socket.end()), 'connection closed');
    await fails(send, await tcpServer((socket) => socket.resetAndDestroy()), 'connection closed');
    const midHeader = await tcpServer((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le'));
    await fails(send, midHeader, 'connection closed');
    const midBody = await tcpServer((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxx'));
    assert.equal((await send(request(midBody))).status, 200);
  });

  test(`${name}: what is not HTTP`, async () => {
    await fails(send, await tcpServer((socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n')), 'invalid HTTP response');
    const endless = await tcpServer((socket) => socket.end(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`));
    await fails(send, endless, 'invalid HTTP response');
  });

  test(`${name}: nobody listens`, async () => {
    const server = createTcpServer();
    const port = await listening(server);
    await new Promise((resolve) => server.close(resolve));
    await fails(send, `http://127.0.0.1:${port}/`, 'connection refused');
  });

  test(`${name}: a name that does not resolve`, async () => {
    await fails(send, 'http://nothing-of-that-name.invalid/', 'name does not resolve');
  });

  test(`${name}: a certificate that nobody vouches for, or none at all`, async () => {
    const server = createTlsServer(selfSigned(), (_, response) => response.end());
    closesAfterwards(server, new Set());
    await fails(send, `https://127.0.0.1:${await listening(server)}/`, 'invalid TLS certificate');
    const plain = await tcpServer((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
    await fails(send, plain.replace('http:', 'https:'), 'TLS handshake failed');
  });
}

/** Counts the connections that reach a server on both loopback addresses. */
async function trap(): Promise<{ port: number; reached: () => number }> {
  let connections = 0;
  const server = createServer((_, response) => response.end());
  server.on('connection', () => connections++);
  closesAfterwards(server, new Set());
  return { port: await listening(server, '::'), reached: () => connections };
}

async function names(answer: Answering): Promise<string> {
  const server = await startNameServer(answer);
  closing.push(server.close);
  return server.address;
}

const hosts = ['127.0.0.1', '127.1', '2130706433', '0x7f.1', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]'];

test('sockets: reaches nothing private, by address or by name', async () => {
  const { port, reached } = await trap();
  const send = overSockets({ allowPrivate: false });
  for (const host of [...hosts, 'localhost']) await fails(send, `https://${host}:${port}/`, 'address not allowed');
  await fails(send, 'https://169.254.169.254/', 'address not allowed');
  assert.equal(reached(), 0);
  assert.equal((await overSockets()(request(`http://localhost:${port}/`))).status, 200);
  assert.equal(reached(), 1);
});

test('sockets: sends nothing without TLS, although an endpoint was made where that is allowed', async () => {
  const asked: string[] = [];
  const server = await names((name) => {
    asked.push(name);
    return ['8.8.8.8'];
  });
  const send = overSockets({ allowPrivate: false, servers: [server] });
  await fails(send, 'http://made-in-development.example/', 'address not allowed');
  assert.deepEqual(asked, []);
});

test('sockets: a name with any private address is refused', async () => {
  const { port, reached } = await trap();
  for (const found of [['127.0.0.1'], ['::1'], ['8.8.8.8', '127.0.0.1'], ['::ffff:7f00:1'], ['169.254.169.254']]) {
    const send = overSockets({ allowPrivate: false, servers: [await names(() => found)] });
    for (const host of ['inside.example', '1.inside.example']) {
      await fails(send, `https://${host}:${port}/`, 'address not allowed');
    }
  }
  assert.equal(reached(), 0);
});

test('sockets: a name that turns from public to loopback is refused', async () => {
  const { port, reached } = await trap();
  // In a public range, and assigned to nobody.
  const turning: Answering = (_, type, nth) => (nth > 1 ? ['127.0.0.1', '::1'] : type === 'AAAA' ? ['2d00::1'] : []);
  const send = overSockets({ allowPrivate: false, timeoutMs: 1500, servers: [await names(turning)] });
  await assert.rejects(send(request(`https://rebound.example:${port}/`)), SendError);
  for (let i = 0; i < 3; i++) await fails(send, `https://rebound.example:${port}/`, 'address not allowed');
  assert.equal(reached(), 0);
});

test('sockets: what a name resolves to is what is connected to, and it is looked up once a connection', async () => {
  const hosts: unknown[] = [];
  const url = new URL(
    await httpServer(({ headers }, response) => {
      hosts.push(headers.host);
      response.end();
    }),
  );
  const { address, asked, close } = await startNameServer(() => ['127.0.0.1']);
  closing.push(close);
  const send = overSockets({ servers: [address] });
  url.hostname = 'receiver.example';
  for (let i = 0; i < 10; i++) assert.equal((await send(request(url.href))).status, 200);
  assert.deepEqual(new Set(hosts), new Set([url.host]));
  assert.deepEqual(Object.fromEntries(asked), { 'receiver.example A': 1, 'receiver.example AAAA': 1 });
});

test('sockets: fifty deliveries to a dead name are one look-up', async () => {
  const { address, asked, close } = await startNameServer(() => 'NXDOMAIN');
  closing.push(close);
  const send = overSockets({ servers: [address] });
  const deliver = () => fails(send, 'https://dead.example/', 'name does not resolve');
  await Promise.all(Array.from({ length: 25 }, deliver));
  for (let i = 0; i < 25; i++) await deliver();
  assert.deepEqual(Object.fromEntries(asked), { 'dead.example A': 1, 'dead.example AAAA': 1 });
});

test('sockets: a name that never resolves ends before the time-out, and leaves other names alone', async () => {
  const { port, reached } = await trap();
  const server = await names((name) => (name === 'silent.example' ? 'silence' : ['127.0.0.1']));
  // A look-up may take a third of `timeoutMs`.
  const send = overSockets({ servers: [server], timeoutMs: 12_000 });
  let silent = true;
  const given = fails(send, `http://silent.example:${port}/`, 'name does not resolve').then(() => {
    silent = false;
  });
  for (let i = 0; i < 10; i++) assert.equal((await send(request(`http://host-${i}.example:${port}/`))).status, 200);
  assert.ok(silent, 'all others were done first');
  await given;
  assert.equal(reached(), 10);
});

/** Tells which connection each request came on, from 1, and answers it with what `answerTo` returns. */
async function numbering(answerTo: (nth: number, socket: Socket) => string): Promise<{ url: string; on: number[] }> {
  const on: number[] = [];
  let connections = 0;
  const server = createTcpServer((socket) => {
    const number = ++connections;
    socket.setNoDelay(true);
    socket.on('data', () => {
      on.push(number);
      const text = answerTo(on.length, socket);
      if (!socket.destroyed) socket.write(text);
    });
  });
  closesAfterwards(server, new Set());
  return { url: `http://127.0.0.1:${await listening(server)}/`, on };
}

const NO_CONTENT = 'HTTP/1.1 204 No Content\r\n\r\n';
const EMPTY = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';

test('sockets: what comes after a response is never the answer to the next request', async () => {
  const answers = [
    `${EMPTY}HTTP/1.1 500 Not asked for\r\nContent-Length: 0\r\n\r\n`,
    'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
    'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nKeep-Alive: max=100, timeout=2\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 0\r\n\r\n',
  ];
  for (const answer of answers) {
    const { url, on } = await numbering((nth) => (nth === 1 ? answer : NO_CONTENT));
    const send = overSockets();
    assert.equal((await send(request(url))).status, Number(answer.slice(9, 12)), answer);
    assert.deepEqual(await send(request(url)), { status: 204, retryAfter: null }, answer);
    assert.deepEqual(on, [1, 2], answer);
  }
});

test('sockets: what leaves nothing behind keeps its connection', async () => {
  const answers = [
    EMPTY,
    NO_CONTENT,
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nEmpty:\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok',
    'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nRetry-After: 7\r\n\r\n',
  ];
  for (const answer of answers) {
    const { url, on } = await numbering(() => answer);
    const send = overSockets();
    for (let i = 0; i < 3; i++) assert.equal((await send(request(url))).retryAfter, null, answer);
    assert.deepEqual(on, [1, 1, 1], answer);
  }
});

test('sockets: a response is read the same, however it arrives', async () => {
  const answer =
    'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 429 Too Many Requests\r\nX: \r\nretry-AFTER: 17  \r\n' +
    'Retry-After: 18 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbus\r\n1;x\r\ny\r\n0\r\n\r\n';
  const { url } = await numbering((nth, socket) => {
    // The first part is read before the second is sent.
    const cut = nth % answer.length;
    socket.write(answer.slice(0, cut), () => setImmediate(() => socket.write(answer.slice(cut))));
    return '';
  });
  const send = overSockets();
  for (let i = 0; i <= answer.length; i++) {
    assert.deepEqual(await send(request(url)), { status: 429, retryAfter: '17' }, `cut at ${i}`);
  }
});

test('sockets: a server that closes after each response, and does not say so', async () => {
  const { url, on } = await numbering((_, socket) => {
    socket.end(EMPTY);
    return '';
  });
  const send = overSockets();
  for (let i = 0; i < 20; i++) assert.equal((await send(request(url))).status, 200);
  assert.equal(new Set(on).size, 20);
});

test('sockets: a body ends with its connection, if nothing else says where it ends', async () => {
  const url = await tcpServer((socket) => socket.end('HTTP/1.1 202 Accepted\r\nRetry-After: 3\r\n\r\nsome'));
  assert.deepEqual(await overSockets()(request(url)), { status: 202, retryAfter: '3' });
});

test('sockets: an answer to a request that is still being sent counts, and its connection is closed', async () => {
  const { url, on } = await numbering((nth, socket) => {
    socket.pause();
    return nth === 1 ? 'HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n' : NO_CONTENT;
  });
  const send = overSockets();
  const large = { ...request(url), body: 'x'.repeat(16 * 2 ** 20) };
  assert.equal((await send(large)).status, 413);
  assert.equal((await send(request(url))).status, 204);
  assert.deepEqual(on, [1, 2]);
});

test('sockets: headers of more than 16 KB, interim responses without end, a switch of protocols, no status', async () => {
  const send = overSockets();
  const head = `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`;
  await fails(send, (await numbering(() => head)).url, 'invalid HTTP response');
  const hints = 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(3000);
  await fails(send, (await numbering(() => hints)).url, 'invalid HTTP response');
  const extension = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(100_000)}`;
  assert.equal((await send(request((await numbering(() => extension)).url))).status, 200);
  const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n';
  await fails(send, (await numbering(() => upgrade)).url, 'invalid HTTP response');
  const none = 'HTTP/1.1 099 None\r\nContent-Length: 0\r\n\r\n';
  await fails(send, (await numbering(() => none)).url, 'invalid HTTP response');
});

test('sockets: an idle connection is closed before the other side would close it', async () => {
  let closed = Promise.resolve();
  const { url } = await numbering((_, socket) => {
    closed = new Promise((resolve) => socket.on('end', () => resolve()));
    return 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=3\r\nContent-Length: 0\r\n\r\n';
  });
  assert.equal((await overSockets()(request(url))).status, 200);
  await closed;
});

test('sockets: closing ends what is under way', async () => {
  let close = () => {};
  const url = await tcpServer(() => close());
  const sender = socketSend({ allowPrivate: true, timeoutMs: AMPLE_MS });
  close = sender.close;
  await fails(sender.send, url, 'connection closed');
  await fails(sender.send, url, 'connection closed');
});

test('sockets: hundreds of origins', async () => {
  const server = createServer((_, response) => response.end());
  closesAfterwards(server, new Set());
  const port = await listening(server);
  const send = overSockets({ servers: [await names(() => ['127.0.0.1'])] });
  for (let i = 0; i < 600; i += 20) {
    const some = Array.from({ length: 20 }, (_, j) => send(request(`http://host-${i + j}.example:${port}/`)));
    for (const { status } of await Promise.all(some)) assert.equal(status, 200);
  }
});

test('fetch: sends nothing to what checkWebhookUrl refuses', async () => {
  const { port, reached } = await trap();
  const send = overFetch(AMPLE_MS, false);
  for (const host of [...hosts, 'localhost']) await fails(send, `https://${host}:${port}/`, 'address not allowed');
  await fails(send, `http://example.com:${port}/`, 'address not allowed');
  assert.equal(reached(), 0);
});
