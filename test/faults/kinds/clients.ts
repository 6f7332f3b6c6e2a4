// Malicious clients, from one address, while the others carry on.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pass } from 'node:timers/promises';
import { SECRET } from '../../support/deps.ts';
import { randomlyMalformed, reactionTo } from '../../support/malformed.ts';
import { openSockets } from '../../support/processes.ts';
import type { Service } from '../../support/service.ts';
import { headers } from '../../support/tokens.ts';
import type { Fault } from '../fault.ts';
import { watchHealth } from '../health.ts';
import { DATABASE_PASSWORD, SECRETS_KEY, type World } from '../world.ts';

const kind = 'clients';
const MANY = 500;
const AUTHORIZATION = `Authorization: ${headers().Authorization}`;
/** Time limits that a strike outlasts. */
const SOON = { READ_TIMEOUT_MS: '2000', IDLE_TIMEOUT_MS: '3000' };
const CUT_WITHIN_MS = 30_000;
/** Other connections that come and go meanwhile: the clients' and the database's. */
const SPARE = 40;

/** Opens connections that send `first` and repeat `drip` until the service closes them; returns how many are left. */
async function untilCut({ url, services }: World, first: string, { drip = '', reads = true } = {}): Promise<number> {
  const open = () => openSockets((services[0] as Service).pid);
  const before = open();
  const sockets = await Promise.all(Array.from({ length: MANY }, () => connected(url)));
  for (const socket of sockets) {
    // A client that does not read also does not notice that it was cut.
    if (reads) socket.resume();
    else socket.pause();
    socket.write(first);
  }
  let closed = 0;
  for (const socket of sockets) socket.once('close', () => closed++);
  const end = performance.now() + CUT_WITHIN_MS;
  // The service accepts them a moment after the kernel does.
  while (performance.now() < end && closed === 0 && open() < before + MANY) await pass(10);
  while (performance.now() < end && open() > before + SPARE) {
    for (const socket of sockets) if (drip && socket.writable) socket.write(drip);
    await pass(300);
  }
  const left = open() - before;
  for (const socket of sockets) socket.destroy();
  return left > SPARE ? left : 0;
}

async function connected(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** Requests `url` on a connection of its own, which is then closed. */
async function statusOf(url: string): Promise<number> {
  const answer = await fetch(url, { headers: { Connection: 'close' } });
  await answer.arrayBuffer();
  return answer.status;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** How many wrong tokens an address may send, and how many requests a subject may: more than the clients need. */
const GUESSES = 5000;
const CANARY = 'canary7f3a';
const SECRETS = [SECRET, SECRETS_KEY, DATABASE_PASSWORD];

/** Sends, in every input that a client has, a word that must not be repeated; returns where it was found anyway. */
async function sing({ url, services }: World): Promise<string[]> {
  const email = `${CANARY}-${Math.random()}@example.com`;
  const id = '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const hook = { url: `http://127.0.0.1:9/${CANARY}?${CANARY}`, events: ['nothing.ever'], description: CANARY };
  const requests: [method: string, path: string, own?: Record<string, string>, body?: unknown][] = [
    ['GET', `/api/v1/webhook-endpoints/whsec_${CANARY}`],
    ['GET', `/eyJ${CANARY}.e30.${CANARY}`],
    ['GET', `/api/v1/notifications?email=${email}&cursor=${CANARY}&${CANARY}=${CANARY}`],
    ['GET', '/api/v1/webhook-endpoints', { Authorization: `Bearer ${CANARY}` }],
    [
      'GET',
      '/api/v1/webhook-endpoints',
      { 'X-Request-Id': `whsec_${CANARY}`, traceparent: CANARY, 'User-Agent': CANARY },
    ],
    ['POST', '/api/v1/webhook-endpoints', { 'Idempotency-Key': `"${CANARY}-${Math.random()}"` }, hook],
    ['POST', '/api/v1/webhook-endpoints', {}, { url: CANARY, events: 1, [CANARY]: CANARY }],
    ['PUT', `/api/v1/webhook-endpoints/${id}`, { 'If-Match': `"${CANARY}"` }, hook],
    // Goes to its email address only: the clients' endpoints cannot be reached.
    ['POST', '/api/v1/notifications', {}, { email, type: 'nobody.listens', data: { [CANARY]: CANARY } }],
    ['POST', '/api/v1/notifications', {}, { email: CANARY, type: 'fault.event', data: { [CANARY]: CANARY } }],
  ];
  for (const [method, path, own, body] of requests) {
    const init = {
      method,
      headers: { ...headers(), ...own },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    await (await fetch(url + path, init)).arrayBuffer();
  }
  const [service] = services as [Service];
  const { url: metrics } = await service.line(({ msg }) => msg === 'metrics listening');
  const told = { 'the log': service.output(), 'the metrics': await (await fetch(metrics as string)).text() };
  return Object.entries(told).flatMap(([where, text]) =>
    [CANARY, ...SECRETS].filter((word) => text.includes(word)).map((word) => `${where} tells ${word}`),
  );
}

/** Returns a fault of many connections that never end by themselves, and that the service must close. */
const endless = (
  what: string,
  first: string,
  options: Parameters<typeof untilCut>[2],
  own: Partial<Fault> = {},
): Fault => ({
  name: `${MANY} that ${what}`,
  kind,
  ready: 'stays',
  harmless: true,
  world: { env: SOON },
  ...own,
  async strike(world, { untrue }) {
    const left = await untilCut(world, first, options);
    if (left > 0) untrue(`${left} of ${MANY} were not cut`);
  },
});

const HALF_A_POST = [
  'POST /api/v1/webhook-endpoints HTTP/1.1',
  'Host: x',
  'Content-Length: 1000',
  ...Object.entries(headers()).map((field) => field.join(': ')),
  '',
  '{',
].join('\r\n');

export const clientFaults: Fault[] = [
  endless('send headers a byte at a time', 'GET /health HTTP/1.1\r\nX-Slow: ', { drip: 'x' }),
  endless('send bodies a byte at a time', HALF_A_POST, { drip: ' ' }),
  endless(
    'ask for much and read nothing',
    get('/openapi.json').repeat(200),
    { reads: false },
    { mayGrow: { factor: 1.1, mib: 0 }, warmUpMs: 20_000 },
  ),
  {
    name: 'more connections than MAX_CONNECTIONS',
    kind,
    ready: 'any',
    harmless: true,
    drops: true,
    world: { env: { MAX_CONNECTIONS: '200' } },
    async strike({ url }, { holdMs, untrue }) {
      const { hostname, port } = new URL(url);
      const sockets = Array.from({ length: MANY }, () => connect(Number(port), hostname).on('error', () => {}));
      await pass(holdMs);
      const taken = sockets.filter(({ readyState }) => readyState === 'open').length;
      if (taken === 0 || taken > 200) untrue(`${taken} connections were taken`);
      for (const socket of sockets) socket.destroy();
    },
  },
  {
    name: '10,000 requests that are malformed at random',
    kind,
    ready: 'stays',
    harmless: true,
    world: { env: { READ_TIMEOUT_MS: '500' } },
    async strike({ url }, { random, untrue }) {
      const requests = Array.from({ length: 10_000 }, () => randomlyMalformed(random, AUTHORIZATION)).values();
      const send = async () => {
        for (const text of requests) {
          const reaction = await reactionTo(url, text);
          if (typeof reaction === 'number' && reaction >= 500) untrue(`${reaction} to ${JSON.stringify(text)}`);
        }
      };
      await Promise.all(Array.from({ length: 64 }, send));
    },
  },
  {
    name: 'paths that a pattern could go mad on',
    kind,
    ready: 'stays',
    harmless: true,
    short: true,
    async strike({ url }, { measured, untrue }) {
      const path = `/@/${'a'.repeat(15_800)}`;
      const health = watchHealth(url);
      const statuses = await Promise.all(Array.from({ length: 50 }, () => statusOf(url + path)));
      if (statuses.some((status) => status !== 404)) untrue(`answered ${statuses.join()}`);
      const worst = await health.stop();
      if (measured && worst.p99Ms > 50) untrue(`/health took ${Math.round(worst.p99Ms)} ms at p99`);
    },
  },
  {
    name: 'a word that nobody may repeat in every input, and secrets in the configuration',
    kind,
    ready: 'stays',
    harmless: true,
    async strike(world, { untrue }) {
      for (const leak of await sing(world)) untrue(leak);
    },
  },
  {
    name: 'tokens guessed without end',
    kind,
    ready: 'stays',
    harmless: true,
    world: { env: { RATE_LIMIT_MAX: String(GUESSES), RATE_LIMIT_WINDOW_S: '3600' } },
    async strike({ url }, { holdMs, untrue }) {
      const wrong = { Authorization: 'Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA' };
      let [guesses, refused] = [0, 0];
      const guess = async (end: number) => {
        while (performance.now() < end || (refused === 0 && guesses < 2 * GUESSES)) {
          guesses++;
          const answer = await fetch(`${url}/api/v1/webhook-endpoints`, { headers: wrong });
          await answer.arrayBuffer();
          if (answer.status === 429) refused++;
        }
      };
      await Promise.all(Array.from({ length: 8 }, () => guess(performance.now() + holdMs)));
      if (refused === 0) untrue('guessing was never refused');
    },
  },
];
