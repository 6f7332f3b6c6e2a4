// Several processes behind one port are one service: to clients, and in its log, metrics and shutdown.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { createServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import pg from 'pg';
import { newNotice } from '../conformance/target.ts';
import { ownDatabase } from '../support/databases.ts';
import { databaseUrl, query } from '../support/postgres-server.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type LogLine, PRINTED_CURL, type Service, spawnService, startService, tokenIn } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

const NOTIFICATIONS = '/api/v1/notifications';

type Env = Record<string, string>;

/** Starts two processes on their own database, which are killed when the test ends. */
async function start(t: TestContext, env: Env = {}, command?: string[]): Promise<Service & { database: string }> {
  const database = await ownDatabase(t);
  const service = await startService({ DATABASE_URL: database.url, PROCESSES: '2', ...env }, command);
  t.after(() => killAll(service));
  return { ...service, database: database.name };
}

/** A service that ends by itself. */
async function ended(t: TestContext, env: Env): Promise<Service> {
  const service = spawnService({ PROCESSES: '2', ...env });
  t.after(() => killAll(service));
  assert.equal(await service.exited, 1, service.output());
  return service;
}

/** Kills what is left: the first process may have gone before the others. */
async function killAll(service: Service): Promise<unknown> {
  for (const pid of [service.pid, ...workersOf(service)]) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {}
  }
  return service.exited;
}

const of = (service: Service, msg: string) => service.lines.filter((line) => line.msg === msg);
const workersOf = (service: Service) => of(service, 'worker started').map(({ worker }) => worker as number);
/** Resolves with the `n`th line with this message. */
const nth = (service: Service, msg: string, n: number) => service.line(() => of(service, msg).length >= n);

/** Returns whether `pid` is still running. A zombie is not. */
function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Resolves once `pid` is no longer running: one that was killed a moment ago may still be. */
async function isGone(pid: number): Promise<void> {
  while (lives(pid)) await pass(10);
}

let count = 0;

type Got = { status: number; left: number; requestId: string };

/** Sends a request, on a new connection unless an agent is given. */
function ask(service: Service, path = NOTIFICATIONS, { agent = false as Agent | false, sub = 'tester' } = {}) {
  const requestId = `r-${process.pid}-${++count}`;
  return new Promise<Got>((resolve, reject) => {
    const own = { ...headers({ claims: { sub } }), 'X-Request-Id': requestId };
    get(service.url + path, { agent, headers: own }, (response) => {
      response.resume().on('end', () => {
        const left = Number(/r=(\d+)/.exec(String(response.headers.ratelimit))?.[1]);
        resolve({ status: response.statusCode ?? 0, left, requestId });
      });
    }).on('error', reject);
  });
}

/** Which process answered. */
const answeredBy = async (service: Service, { requestId }: Got) =>
  (await service.line((line) => line.msg === 'request' && line.requestId === requestId)).pid as number;

const post = (service: Service) =>
  fetch(service.url + NOTIFICATIONS, { method: 'POST', headers: headers(), body: JSON.stringify(newNotice()) });

async function scrape(service: Service): Promise<string> {
  const { url } = await service.line(({ msg }) => msg === 'metrics listening');
  const response = await fetch(url as string);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  return response.text();
}

const totalOf = (text: string, name: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);

/** Makes a POST wait for a lock, in the process that receives it, until the test ends. */
async function stuckRequest(t: TestContext, service: Service & { database: string }): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl(service.database) });
  client.on('error', () => {});
  t.after(() => client.end());
  await client.connect();
  await client.query('begin; lock table idempotency_keys in access exclusive mode');
  post(service).catch(() => {});
  const waiting = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  while ((await query('postgres', waiting.replace('current_database()', `'${service.database}'`))).length === 0);
}

describe('several processes', { concurrency: 2 }, () => {
  test('answer on one port, say once that they listen, and stop as one', async (t) => {
    const service = await start(t, { SHUTDOWN_DELAY_MS: '3000', JWT_SECRET: '', SECRETS_KEY: '' });
    while (!PRINTED_CURL.test(service.output())) {
      await new Promise((resolve) => service.process.stdout?.once('data', resolve));
    }
    const bearer = tokenIn(service.output());
    // The secret was created once: the token is valid in each process.
    const pids = new Set<unknown>();
    for (let i = 0; i < 200 && pids.size < 2; i++) {
      const requestId = `welcome-${i}`;
      const own = { Authorization: `Bearer ${bearer}`, 'X-Request-Id': requestId, Connection: 'close' };
      assert.equal((await fetch(service.url + NOTIFICATIONS, { headers: own })).status, 200);
      pids.add(await answeredBy(service, { status: 200, left: 0, requestId }));
    }
    assert.deepEqual([...pids].sort(), workersOf(service).sort());
    assert.equal(service.output().match(/Keelson is listening on/g)?.length, 1);
    assert.deepEqual(
      of(service, 'listening').map(({ processes }) => processes),
      [2],
    );

    service.process.kill('SIGTERM');
    await nth(service, 'not ready', 2);
    for (let i = 0; i < 4; i++) assert.equal((await ask(service, '/ready')).status, 503);
    assert.equal(await service.exited, 0, service.output());
    for (const step of ['requests finished, listener closed', 'dispatcher stopped', 'database closed']) {
      assert.deepEqual(
        of(service, step)
          .map(({ pid }) => pid)
          .sort(),
        [...pids].sort(),
        step,
      );
    }
    const own = service.lines.filter(({ pid }) => pid === undefined).map(({ msg }) => msg);
    assert.deepEqual(own.slice(-3), ['stopping', 'workers stopped', 'metrics listener closed']);
  });

  test('are one in /metrics, whose counters do not fall when a process dies and is replaced', async (t) => {
    const service = await start(t);
    const made = await Promise.all(Array.from({ length: 10 }, () => post(service)));
    for (const { status } of made) assert.equal(status, 202);
    await nth(service, 'notification sent', 10);
    await nth(service, 'request', 10);
    const by = new Set(of(service, 'request').map(({ pid }) => pid));
    assert.equal(by.size, 2, 'both have answered');
    const requests = 'http_request_duration_seconds_count';
    const before = await scrape(service);
    assert.equal(totalOf(before, requests), 10);
    assert.equal(totalOf(before, 'notification_delivery_duration_seconds_count'), 10);
    assert.equal(before.match(/^dispatcher_last_claim_age_seconds /gm)?.length, 1);
    assert.match(before, /^worker_processes\{state="answering"\} 2$/m);
    assert.equal(before.match(/^process_start_time_seconds /gm)?.length, 1);

    const [victim] = workersOf(service) as [number];
    process.kill(victim, 'SIGKILL');
    const died = await service.line(({ msg }) => msg === 'worker died');
    assert.deepEqual([died.worker, died.code, died.signal], [victim, null, 'SIGKILL']);
    assert.equal(totalOf(await scrape(service), requests), 10);
    assert.equal((await post(service)).status, 202, 'the other one goes on');
    await nth(service, 'worker listening', 3);
    const [, , replacement] = workersOf(service);
    const now: number[] = [];
    while (!now.includes(replacement as number)) now.push(await answeredBy(service, await ask(service)));
    const after = await scrape(service);
    assert.equal(totalOf(after, requests), 11 + now.length);
    assert.match(after, /^worker_deaths_total 1$/m);
    assert.equal(await service.stop(), 0);
  });

  test('count one rate limit: what one process lets through, the other hears of', async (t) => {
    const service = await start(t, { RATE_LIMIT_MAX: '1000' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const sub = 'limited';
    const kept: Got[] = [];
    for (let i = 0; i < 100; i++) kept.push(await ask(service, NOTIFICATIONS, { agent, sub }));
    const pid = await answeredBy(service, kept[0] as Got);
    for (let own = 1, left = 1000; left > 1000 - 100 - own; ) {
      assert.ok(own < 300, 'the other has never heard');
      const got = await ask(service, NOTIFICATIONS, { sub });
      if ((await answeredBy(service, got)) === pid) continue;
      left = got.left;
      own++;
    }
    assert.equal(await service.stop(), 0);
  });

  test('one that hangs is left out of /metrics, and killed when the time to stop has passed', async (t) => {
    const stopping = { SHUTDOWN_TIMEOUT_MS: '4000', REQUEST_TIMEOUT_MS: '3000' };
    const service = await start(t, { ...stopping, DISPATCH_ENABLED: 'false' });
    for (let i = 0; i < 3; i++) assert.equal((await post(service)).status, 202);
    // Counted in the database, so not added up.
    assert.match(await scrape(service), /^notifications\{status="pending"\} 3$/m);
    const [hung, other] = workersOf(service) as [number, number];
    process.kill(hung, 'SIGSTOP');
    const text = await scrape(service);
    assert.match(text, /^worker_processes\{state="silent"\} 1$/m);
    assert.match(text, /^http_requests_in_flight 0$/m);
    assert.equal(await service.stop(), 1);
    assert.match(JSON.stringify(service.lines.at(-1)), /SHUTDOWN_TIMEOUT_MS/);
    await Promise.all([hung, other].map(isGone));
  });

  test('a connection that was passed to a process which is killed is closed, and its client need not wait', async (t) => {
    const service = await start(t);
    const [victim, other] = workersOf(service) as [number, number];
    process.kill(victim, 'SIGSTOP');
    // Requests to the stopped process get no response; all later ones go to the other.
    const asked = Array.from({ length: 8 }, () =>
      ask(service).then(
        ({ status }) => status,
        () => 'closed',
      ),
    );
    let answered = 0;
    await new Promise<void>((resolve) => {
      for (const one of asked) void one.then(() => ++answered === asked.length - 1 && resolve());
    });
    process.kill(victim, 'SIGKILL');
    const became = await Promise.all(asked);
    assert.deepEqual(became.sort(), [...Array(7).fill(200), 'closed']);
    assert.ok(lives(other));
  });

  test('a second signal ends all of them at once', async (t) => {
    const service = await start(t);
    await stuckRequest(t, service);
    service.process.kill('SIGINT');
    await nth(service, 'not ready', 2);
    assert.equal(await service.stop('SIGTERM'), 1);
    assert.equal(service.lines.at(-1)?.msg, 'stopped at once');
    await Promise.all(workersOf(service).map(isGone));
  });

  test('a worker that is told to stop by itself stops in order, and is replaced', async (t) => {
    const service = await start(t);
    const [told] = workersOf(service) as [number];
    process.kill(told, 'SIGTERM');
    const died = await service.line(({ msg }) => msg === 'worker died');
    assert.deepEqual([died.worker, died.code], [told, 0]);
    assert.ok(service.lines.some(({ msg, pid }) => msg === 'database closed' && pid === told));
    await nth(service, 'worker listening', 3);
    assert.equal(await service.stop(), 0);
  });

  test('that cannot start end all, with what the first of them said', async (t) => {
    const taken = createServer();
    t.after(() => taken.close());
    const port = await new Promise<number>((resolve) =>
      taken.listen(0, '127.0.0.1', () => resolve((taken.address() as { port: number }).port)),
    );
    const database = await ownDatabase(t);
    const [bound, unmigrated] = await Promise.all([
      ended(t, { DATABASE_URL: database.url, PORT: String(port) }),
      ended(t, { DATABASE_URL: databaseUrl('postgres') }),
    ]);
    const said = (line: LogLine | undefined) => JSON.stringify(line?.error);
    assert.match(said(of(bound, 'fatal')[0]), new RegExp(`EADDRINUSE.*127\\.0\\.0\\.1:${port}: change HOST or PORT`));
    assert.deepEqual(workersOf(bound), []);
    assert.match(said(of(unmigrated, 'cannot start')[0]), /npm run db:migrate/);
    assert.equal(of(unmigrated, 'fatal').length, 1);
    assert.equal(unmigrated.lines.at(-1)?.msg, 'metrics listener closed', 'the stop is an orderly one');
  });

  test('are given up where replacements do not come up, one after the other', async (t) => {
    const service = await start(t);
    // Running processes keep their connections; new connections are refused.
    await query('postgres', `alter database ${service.database} allow_connections false`);
    process.kill(workersOf(service)[0] as number, 'SIGKILL');
    assert.equal(await service.exited, 1, service.output());
    assert.equal(of(service, 'worker died').length, 1 + 5);
    assert.match(JSON.stringify(of(service, 'fatal')), /5 workers in a row/);
    assert.equal(of(service, 'database closed').length, 1, 'the one that served stopped in order');
  });

  test('are refused with the embedded database, unless as many as can be were asked for', async (t) => {
    const refused = await ended(t, { DATABASE_URL: 'pglite:db' });
    assert.deepEqual(
      refused.lines.map(({ problems }) => problems),
      [['PROCESSES must be 1 with the embedded database, which only one process can open']],
    );
    const one = await startService({ DATABASE_URL: 'pglite:db', PROCESSES: 'auto' });
    t.after(() => killAll(one));
    assert.match(JSON.stringify(of(one, 'one process')), /embedded database/);
    assert.deepEqual(workersOf(one), []);
    assert.equal(await one.stop(), 0);
  });

  for (const [runtime, command] of Object.entries(COMMANDS)) {
    test(`on ${runtime}: both serve, and without the first process they stop in order`, async (t) => {
      const service = await start(t, {}, command);
      const pids = new Set<number>();
      for (let i = 0; i < 200 && pids.size < 2; i++) pids.add(await answeredBy(service, await ask(service)));
      assert.equal(pids.size, 2);
      assert.equal(await service.stop('SIGKILL'), 'SIGKILL');
      // Their output is closed by the last of them.
      const reasons = of(service, 'stopping').map(({ why }) => why);
      assert.deepEqual(reasons, Array(2).fill('the primary is gone'));
      assert.equal(of(service, 'database closed').length, 2);
      await Promise.all([...pids].map(isGone));
    });
  }
});
