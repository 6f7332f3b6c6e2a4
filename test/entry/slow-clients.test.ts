import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ownDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, startService, untilReady } from '../support/service.ts';
import { openUnread, stallReaders } from '../support/slow-readers.ts';
import { token } from '../support/tokens.ts';

const SOMAXCONN = '/proc/sys/net/core/somaxconn';
const DOCUMENT = 'GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n';
const LAST = 'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
const HALF_HEAD = 'GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ';
const HALF_BODY = [
  'POST /api/v1/webhook-endpoints HTTP/1.1',
  'Host: x',
  `Authorization: Bearer ${token()}`,
  'Content-Type: application/json',
  'Content-Length: 100',
  '',
  '{',
].join('\r\n');
const REST_OF_BODY = `${' '.repeat(98)}}`;

async function start(t: TestContext, env: Record<string, string>, command = COMMANDS.node): Promise<Service> {
  const database = await ownDatabase(t);
  const service = await startService({ DATABASE_URL: database.url, ...env }, command);
  t.after(() => service.stop('SIGKILL'));
  return service;
}

function open(t: TestContext, { url }: Service, said = ''): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  socket.write(said);
  return socket;
}

const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));
const statusesIn = (answers: string) => answers.match(/(?<=HTTP\/1\.1 )\d+/g)?.map(Number) ?? [];
const healthOf = async ({ url }: Service) => (await fetch(`${url}/health`)).status;
const served = ({ lines }: Service) => lines.filter(({ path }) => path === '/openapi.json').length;

describe('a reader that takes nothing', () => {
  test('is cut after IDLE_TIMEOUT_MS, however many there are, and /health answers meanwhile', async (t) => {
    const service = await start(t, { IDLE_TIMEOUT_MS: '1000' });
    const { health } = await stallReaders(service, { connections: 50, requests: 400 });
    assert.deepEqual([...new Set(health)], [200]);
  });

  test('has no more made for it than the network takes, and one answer', async (t) => {
    const service = await start(t, { IDLE_TIMEOUT_MS: '2000' });
    await stallReaders(service, { connections: 1, requests: 1000 });
    assert.ok(served(service) < 500, `${served(service)} answers were made`);
  });

  test('costs the others nothing: who takes slowly, or has asked for much at once, gets all of it in order', async (t) => {
    const service = await start(t, { IDLE_TIMEOUT_MS: '3000' });
    const [slow] = await openUnread(service.url, 1, DOCUMENT.repeat(150) + LAST);
    const patient = open(t, service, 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000) + LAST);
    let answers = '';
    slow?.on('data', async (chunk) => {
      answers += chunk;
      slow.pause();
      await delay(30);
      slow.resume();
    });
    slow?.resume();
    const [, taken] = await Promise.all([once(slow as Socket, 'end'), text(patient)]);
    assert.deepEqual(statusesIn(taken), Array(1001).fill(200));
    assert.equal(statusesIn(answers).length, 151);
  });

  test('leaves an answer alone that takes longer than IDLE_TIMEOUT_MS to make', async (t) => {
    const service = await start(t, { IDLE_TIMEOUT_MS: '200', READ_TIMEOUT_MS: '10000', REQUEST_TIMEOUT_MS: '3000' });
    const socket = open(t, service, HALF_BODY);
    const [answer] = await once(socket, 'data');
    assert.deepEqual(statusesIn(String(answer)), [504]);
  });
});

describe('MAX_CONNECTIONS', () => {
  for (const PROCESSES of ['1', '2']) {
    test(`is how many there may be in ${PROCESSES}: one more is refused, and taken once another is gone`, async (t) => {
      const service = await start(t, { MAX_CONNECTIONS: '4', PROCESSES });
      const kept: Socket[] = [];
      for (let i = 0; i < 4; i++) {
        const socket = open(t, service, 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
        assert.deepEqual(statusesIn(String((await once(socket, 'data'))[0])), [200]);
        kept.push(socket);
      }
      const refused = open(t, service, LAST);
      await closed(refused);
      assert.equal(refused.bytesRead, 0);
      const { maxConnections } = await service.line(({ msg }) => msg === 'connections refused');
      assert.equal(maxConnections, 4 / Number(PROCESSES));

      for (const socket of kept) socket.destroy();
      // Until the service notices this, it refuses connections.
      for (let answers = ''; answers === ''; ) answers = await text(open(t, service, LAST)).catch(() => '');
    });
  }
});

const somaxconn = existsSync(SOMAXCONN) ? Number(readFileSync(SOMAXCONN, 'utf8')) : 0;
const tooSmall = somaxconn < 4096 && `the kernel takes ${somaxconn} connections at most`;

describe('2,000 clients that connect while the process is busy', { skip: tooSmall }, () => {
  for (const PROCESSES of ['1', '2']) {
    test(`are taken, and answered afterwards (PROCESSES=${PROCESSES})`, { timeout: 60_000 }, async (t) => {
      const service = await start(t, { PROCESSES });
      // Nothing is busier than a process that is stopped.
      process.kill(service.pid, 'SIGSTOP');
      const sockets = Array.from({ length: 2000 }, () => open(t, service, LAST));
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      process.kill(service.pid, 'SIGCONT');
      const answers = await Promise.all(sockets.map((socket) => text(socket)));
      assert.deepEqual(answers.flatMap(statusesIn), Array(2000).fill(200));
    });
  }
});

/** Requests in flight in a process, at most. */
const IN_FLIGHT = 5000;

describe('requests in flight', () => {
  test('are 5,000 at most: one more is 503, the probes answer, and each of the others has its answer', async (t) => {
    const long = '1000000';
    const times = { REQUEST_TIMEOUT_MS: long, READ_TIMEOUT_MS: long, SHUTDOWN_TIMEOUT_MS: '1000001' };
    const service = await start(t, { ...times, RATE_LIMIT_MAX: '1000000' });
    const { url } = await service.line(({ msg }) => msg === 'metrics listening');
    const inFlight = async () => {
      const scraped = await (await fetch(url as string)).text();
      return Number(/^http_requests_in_flight (\d+)$/m.exec(scraped)?.[1] ?? assert.fail(scraped));
    };
    const sockets: Socket[] = [];
    // In groups that fit into the backlog: the kernel drops further ones, and may not take them for minutes.
    while (sockets.length < IN_FLIGHT) {
      for (let i = 0; i < 250; i++) sockets.push(open(t, service, HALF_BODY));
      while ((await inFlight()) < sockets.length) {
        const lost = sockets.find(({ destroyed }) => destroyed);
        assert.ok(!lost, `a client lost its connection: ${lost?.errored}`);
      }
    }
    const answers = Promise.all(sockets.map((socket) => once(socket, 'data')));

    const [refusal] = await once(open(t, service, HALF_BODY), 'data');
    assert.deepEqual(statusesIn(String(refusal)), [503]);
    assert.match(String(refusal), /^Retry-After: 1\r$/im);
    assert.equal(await healthOf(service), 200);
    await untilReady(service.url);

    for (const socket of sockets) socket.write(REST_OF_BODY);
    const statuses = (await answers).flatMap(([answer]) => statusesIn(String(answer)));
    assert.deepEqual(statuses, Array(IN_FLIGHT).fill(422));
  });
});

describe('500 that never come to an end', () => {
  for (const [what, said] of [
    ['headers', HALF_HEAD],
    ['bodies', HALF_BODY],
  ] as const) {
    test(`of their ${what} are cut after READ_TIMEOUT_MS, and /health answers meanwhile`, async (t) => {
      const service = await start(t, { READ_TIMEOUT_MS: '1000', REQUEST_TIMEOUT_MS: '5000', LOG_LEVEL: 'info' });
      const answers = Promise.all(Array.from({ length: 500 }, () => text(open(t, service, said))));
      assert.equal(await healthOf(service), 200);
      const statuses = (await answers).flatMap(statusesIn);
      assert.deepEqual(statuses, Array(500).fill(408));
      assert.equal(await healthOf(service), 200);
    });

    test(`of their ${what} are cut on Bun, too`, async (t) => {
      const service = await start(t, { IDLE_TIMEOUT_MS: '1000', REQUEST_TIMEOUT_MS: '3000' }, COMMANDS.bun);
      const all = Promise.all(Array.from({ length: 500 }, () => closed(open(t, service, said).resume())));
      assert.equal(await healthOf(service), 200);
      await all;
      assert.equal(await healthOf(service), 200);
    });
  }
});
