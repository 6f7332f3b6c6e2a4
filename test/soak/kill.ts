// Kills dispatchers at random moments and looks at what became of every notification that was accepted.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as pass, setImmediate as turn } from 'node:timers/promises';
import type { ReportProgress } from '../../src/entry/progress.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { randomFrom } from '../support/random.ts';
import { type Service, startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

type Options = { rounds: number; perRound: number; seed: number; report?: ReportProgress };

/** One arrival of a webhook. */
type Post = { at: number; answeredAt: number; body: string; connection: { endedAt: number } };
type Kill = { at: number; goneBy: number };
type Row = { id: string; channel: string; status: string; attempts: number; body: string };

const PROCESSES = 3;
const ENDPOINTS = 5;
const LEASE_MS = 6000;
const BATCH = 100;
/** Turns of the event loop after a process ends in which the sink reads what it had sent, and notices that it is gone. */
const TURNS = 10;
/** The longest that the sink takes to answer. */
const ANSWER_MS = 20;
/** A process is killed within this time of the round's first request. */
const ROUND_MS = 400;
const SETTLE_MS = 60_000;
const NEVER = Number.POSITIVE_INFINITY;

/**
 * In each round, clients request `perRound` webhooks, retrying each request until it is answered, and one of three
 * processes is killed meanwhile. Throws unless every webhook arrived, and a kill explains each that arrived twice;
 * returns what to print.
 */
export async function killRounds({ rounds, perRound, seed, report }: Options): Promise<Record<string, number>> {
  assert.equal(perRound % ENDPOINTS, 0);
  const random = randomFrom(seed);
  const sink = await startRecorder(random);
  const database = await createDatabase();
  const env = {
    DATABASE_URL: database.url,
    SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
    RATE_LIMIT_MAX: '1000000',
    DISPATCH_BATCH: String(BATCH),
    DISPATCH_INTERVAL_MS: '250',
    DISPATCH_LEASE_MS: String(LEASE_MS),
    DELIVERY_TIMEOUT_MS: '5000',
  };
  const services = await Promise.all(Array.from({ length: PROCESSES }, () => startService(env)));
  const anyone = () => services[Math.floor(random() * services.length)] as Service;
  const startedAt = performance.now();
  try {
    await prepare(anyone(), sink.url);
    const kills: Kill[] = [];
    for (let round = 0; round < rounds; round++) {
      const asked = Array.from({ length: perRound / ENDPOINTS }, (_, i) => ask(anyone, `${seed}-${round}-${i}`));
      const accepted = Promise.all(asked);
      await pass(random() * ROUND_MS);
      const [victim] = services.splice(Math.floor(random() * services.length), 1) as [Service];
      kills.push(await kill(victim));
      const [replacement] = await Promise.all([startService(env), accepted]);
      services.push(replacement);
      report?.(round + 1, rounds);
    }
    await untilNothingPends(database.name);
    const rows = await everything(database.name);
    const figures = judge(rows, sink.posts, kills, rounds * perRound);
    await checkRecords(services, rows);
    const leasesLost = services.flatMap(({ lines }) => lines.filter(({ msg }) => msg === 'leases lost')).length;
    const exits = await Promise.all(services.map((service) => service.stop()));
    assert.deepEqual(exits, Array(PROCESSES).fill(0), 'the survivors stop in order');
    return { seed, rounds, ...figures, leasesLost, seconds: Math.round((performance.now() - startedAt) / 1000) };
  } finally {
    await Promise.all(services.map((service) => service.stop('SIGKILL')));
    await sink.close();
    await database.drop();
  }
}

/** Starts a fast webhook receiver that records each arrival, and when the connection that it came on ended. */
async function startRecorder(random: () => number) {
  const posts = new Map<string, Post[]>();
  const connections = new WeakMap<Socket, { endedAt: number }>();
  const server = createServer((request, response) => {
    const at = performance.now();
    let body = '';
    request.on('error', () => {});
    request.setEncoding('utf8').on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const connection = connections.get(request.socket) as { endedAt: number };
      const post: Post = { at, answeredAt: NEVER, body, connection };
      const id = String(request.headers['webhook-id']);
      posts.set(id, [...(posts.get(id) ?? []), post]);
      setTimeout(() => {
        post.answeredAt = performance.now();
        response.writeHead(204).end();
      }, random() * ANSWER_MS);
    });
  });
  server.on('connection', (socket) => {
    const connection = { endedAt: NEVER };
    connections.set(socket, connection);
    const ended = () => {
      connection.endedAt = Math.min(connection.endedAt, performance.now());
    };
    for (const event of ['end', 'error', 'close']) socket.on(event, ended);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    posts,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Registers the endpoints. */
async function prepare({ url }: Service, sink: string): Promise<void> {
  for (let i = 0; i < ENDPOINTS; i++) {
    const body = JSON.stringify({ url: `${sink}/${i}`, events: ['soak.event'] });
    const made = await fetch(`${url}/api/v1/webhook-endpoints`, { method: 'POST', headers: headers(), body });
    assert.equal(made.status, 201);
  }
}

/** Sends a request as a careful client does: if there is no answer, it retries elsewhere with the same key. */
async function ask(anyone: () => Service, key: string): Promise<void> {
  const body = JSON.stringify({ email: 'soak@example.com', type: 'soak.event', data: { key, text: 'x'.repeat(200) } });
  const init = { method: 'POST', headers: { ...headers(), 'Idempotency-Key': `"${key}"` }, body };
  let refusal = 'nobody answers';
  for (let tries = 0; tries < 20; tries++) {
    try {
      const answer = await fetch(`${anyone().url}/api/v1/notifications`, init);
      const text = await answer.text();
      if (answer.status === 202) return;
      refusal = `${answer.status} ${text}`;
      break;
    } catch {
      // Killed before it could answer, or not there any more.
    }
  }
  assert.fail(refusal);
}

async function kill(victim: Service): Promise<Kill> {
  const at = performance.now();
  await victim.stop('SIGKILL');
  // Its connections ended before it did, and the sink runs on this event loop, however long a turn takes.
  for (let turns = 0; turns < TURNS; turns++) await turn();
  return { at, goneBy: performance.now() };
}

/** Polls, as no event reports an empty queue. */
async function untilNothingPends(database: string): Promise<void> {
  for (const end = performance.now() + SETTLE_MS; ; ) {
    const [row] = await query(database, 'select count(*)::int as pending from deliveries');
    if (row?.pending === 0) return;
    if (performance.now() > end) assert.fail(`${row?.pending} still pending after ${SETTLE_MS} ms`);
    await pass(100);
  }
}

async function everything(database: string): Promise<Row[]> {
  const sql = `select n.id, n.channel, coalesce(o.status, 'pending') as status, o.attempts, m.body
    from notifications n join messages m on m.id = n.message_id
    left join outcomes o on o.notification_id = n.id where m.type = 'soak.event'`;
  return (await query(database, sql)) as Row[];
}

function judge(rows: Row[], posts: Map<string, Post[]>, kills: Kill[], expected: number): Record<string, number> {
  const webhooks = rows.filter(({ channel }) => channel === 'webhook');
  assert.equal(webhooks.length, expected, 'each request was accepted once');
  assert.equal(rows.length, expected + expected / ENDPOINTS, 'and its email with it');
  assert.deepEqual(
    rows.filter(({ status }) => status !== 'sent'),
    [],
    'everything accepted is sent',
  );
  const lost = webhooks.filter(({ id }) => !posts.has(id));
  assert.deepEqual(lost, [], 'everything sent has arrived');
  assert.equal(posts.size, webhooks.length, 'nothing else has arrived');
  let duplicates = 0;
  let longestUnsettledMs = 0;
  for (const { id, body } of webhooks) {
    const arrived = posts.get(id) as Post[];
    assert.ok(
      arrived.every((post) => post.body === body),
      `${id} has the same body each time`,
    );
    for (const [i, next] of arrived.slice(1).entries()) {
      duplicates++;
      const unsettledMs = explain(id, arrived[i] as Post, next, kills);
      longestUnsettledMs = Math.max(longestUnsettledMs, Math.round(unsettledMs));
    }
  }
  assert.ok(duplicates <= kills.length * BATCH);
  const reclaimed = rows.filter(({ attempts }) => attempts > 1).length;
  return { webhooks: webhooks.length, lost: lost.length, reclaimed, duplicates, longestUnsettledMs };
}

/** What was claimed more than once was settled once: by then, the other claimers were dead or had lost their leases. */
async function checkRecords(services: Service[], rows: Row[]): Promise<void> {
  for (const { id, attempts } of rows.filter(({ attempts }) => attempts > 1)) {
    const answer = await fetch(`${services[0]?.url}/api/v1/notifications/${id}`, { headers: headers() });
    const shown = (await answer.json()) as { status: string; attempts: number; attemptLog: { error: string | null }[] };
    assert.deepEqual([shown.status, shown.attempts], ['sent', attempts]);
    assert.deepEqual(
      shown.attemptLog.map(({ error }) => error),
      [null],
      `${id} has one attempt on record`,
    );
  }
}

/** Returns how long `first` had been answered when the process that sent it was killed, before settling it. */
function explain(id: string, first: Post, next: Post, kills: Kill[]): number {
  const { endedAt } = first.connection;
  const killed = kills.find(({ at, goneBy }) => endedAt >= at && endedAt <= goneBy);
  assert.ok(killed, `${id} came twice, and no kill explains it: ${JSON.stringify({ first, next, kills })}`);
  assert.ok(next.at > killed.at, `${id} came again before its dispatcher was killed`);
  const unsettledMs = Math.max(0, killed.at - first.answeredAt);
  assert.ok(unsettledMs < LEASE_MS, `${id} came again although it had ${unsettledMs} ms to be settled`);
  return unsettledMs;
}
