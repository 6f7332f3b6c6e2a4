import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { newNotice, uniqueEmail } from '../conformance/target.ts';
import { ownDatabase } from '../support/databases.ts';
import { SECRET } from '../support/deps.ts';
import { databaseUrl, freePort, query } from '../support/postgres-server.ts';
import { startProxy } from '../support/proxy.ts';
import {
  type LogLine,
  PRINTED_CURL,
  type Service,
  STOP_STEPS,
  spawnService,
  startService,
  untilReady,
} from '../support/service.ts';
import { headers, token } from '../support/tokens.ts';

const run = promisify(execFile);
const EMAIL = /[^\s"@]+@[^\s"@]+\.[a-z]+/i;
const TOKEN = /eyJ[\w-]{10,}/;

type Env = Record<string, string>;

/** Starts a service for the test, which is killed when the test ends. */
async function start(t: TestContext, env: Env = {}): Promise<Service> {
  const service = await startService(env);
  t.after(() => service.stop('SIGKILL'));
  return service;
}

function ownDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-entry-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts a service that must refuse to start, and returns what it logged. */
async function refusal(env: Env): Promise<{ line: LogLine; service: Service }> {
  const service = spawnService(env);
  const late = setTimeout(() => service.process.kill('SIGKILL'), 30_000);
  assert.equal(await service.exited, 1, service.output());
  clearTimeout(late);
  assert.ok(!service.lines.some(({ msg }) => msg === 'listening'), service.output());
  const line = service.lines.find(({ level }) => level === 'error');
  assert.ok(line, service.output());
  return { line, service };
}

/** Waits until the service has printed a match for `what`, and returns it. */
async function printed(service: Service, what: RegExp): Promise<string> {
  const stdout = service.process.stdout as NodeJS.ReadableStream;
  for (;;) {
    const found = what.exec(service.output())?.[0];
    if (found !== undefined) return found;
    const more = await Promise.race([once(stdout, 'data'), service.exited]);
    if (!Array.isArray(more)) throw new Error(`the service ended:\n${service.output()}`);
  }
}

const messageOf = (line: LogLine) => (line.error as { message: string }).message;

const NOTIFICATIONS = '/api/v1/notifications';

const post = (url: string, email = uniqueEmail()) =>
  fetch(url + NOTIFICATIONS, { method: 'POST', headers: headers(), body: JSON.stringify({ ...newNotice(), email }) });

/** Locks what a POST and a GET of notifications need, and dispatchers with nothing to report do not. */
async function lockTables(t: TestContext, url: string): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: url, application_name: 'test-lock' });
  // Its database may be dropped while in use.
  client.on('error', () => {});
  t.after(() => client.end());
  await client.connect();
  await client.query('begin; lock table idempotency_keys, attempts in access exclusive mode');
  return { release: async () => void (await client.query('commit')) };
}

/** Waits until `holds`, polling often. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 250; tries++) {
    if (await holds()) return;
    await delay(20);
  }
  throw new Error(`never came: ${what}`);
}

const atWork = (database: string) =>
  query(
    database,
    `select query from pg_stat_activity
     where datname = current_database() and application_name = 'keelson' and state = 'active'`,
  );

/** Waits until `n` of the service's statements are under way. */
const blocked = (database: string, n = 1) =>
  until(`${n} statements at work`, async () => (await atWork(database)).length >= n);

const countOf = async (database: string, from: string) =>
  Number((await query(database, `select count(*) as n from ${from}`))[0]?.n);

const metricsUrl = async (service: Service) =>
  (await service.line(({ msg }) => msg === 'metrics listening')).url as string;
const scrape = async (service: Service) => {
  const response = await fetch(await metricsUrl(service));
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  return response.text();
};

type Got = { status: number; headers: IncomingHttpHeaders; body: string; reused: boolean };

/** Sends a GET through an agent, to know whether connections are kept. */
function get(agent: Agent, url: string, own: Record<string, string> = {}): Promise<Got> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { agent, headers: own }, (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body, reused: request.reusedSocket }),
      );
    });
    request.on('error', (error) => reject(Object.assign(error, { reused: request.reusedSocket })));
    request.end();
  });
}

/** A proxy in front of a Postgres, and what clients have sent through it. */
async function proxyTo(t: TestContext, url: string) {
  const seen = { sent: '' };
  const proxy = await startProxy(url, undefined, (_, from, chunk) => {
    if (from === 'client') seen.sent += chunk.toString('latin1');
  });
  t.after(() => proxy.close());
  return { ...proxy, seen };
}

/** The arguments with which curl gets /docs as a browser opens it. */
const docsOpened = (url: string) => [
  '-s',
  '-H',
  'Sec-Fetch-Mode: navigate',
  '-H',
  'Sec-Fetch-Dest: document',
  `${url}/docs`,
];

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function taken(t: TestContext): Promise<number> {
  const server = createServer();
  t.after(() => server.close());
  return listening(server);
}

describe('a fresh folder with no configuration', () => {
  test('the printed curl works, what it queues is sent before any tick, and nothing personal is logged', async (t) => {
    const service = await start(t, { JWT_SECRET: '', DISPATCH_INTERVAL_MS: '3600000' });
    const curl = await printed(service, PRINTED_CURL);
    assert.match(service.output(), new RegExp(`^Keelson is listening on ${service.url}$`, 'm'));
    assert.match(service.output(), new RegExp(`^Documentation: ${service.url}/docs$`, 'm'));

    const { stdout } = await run('sh', ['-c', curl]);
    assert.match(stdout, /^HTTP\/1\.1 20[12] /);
    assert.match((await run('curl', docsOpened(service.url))).stdout, TOKEN);
    await service.line(({ msg }) => msg === 'notification sent');
    assert.equal(await service.stop(), 0);
    for (const line of service.lines) {
      assert.doesNotMatch(JSON.stringify(line), EMAIL);
      assert.doesNotMatch(JSON.stringify(line), TOKEN);
    }
  });

  test('one process at a time has the embedded database, and what was acknowledged survives its SIGKILL', async (t) => {
    const directory = join(ownDirectory(t), 'db');
    const DATABASE_URL = `pglite:${directory}`;
    const first = await start(t, { DATABASE_URL });
    const { line } = await refusal({ DATABASE_URL });
    assert.equal(
      messageOf(line),
      `${directory} is in use by process ${first.pid}: stop that process or, if it is another program, delete ${directory}.lock`,
    );

    const made = await post(first.url);
    const { id } = (await made.json()) as { id: string };
    assert.equal(await first.stop('SIGKILL'), 'SIGKILL');
    const next = await start(t, { DATABASE_URL });
    const kept = await fetch(`${next.url}${NOTIFICATIONS}/${id}`, { headers: headers() });
    assert.equal(kept.status, 200);
    assert.equal(await next.stop(), 0);
    assert.ok(!existsSync(`${directory}.lock`), 'an orderly stop gives the directory back');
  });
});

describe('a bad configuration', () => {
  test('every problem is told at once, by name and without its value, and nothing is opened', async (t) => {
    const directory = join(ownDirectory(t), 'db');
    const bad = { PORT: 'bad-port', LOG_LEVEL: 'bad-level', JWT_SECRET: 'bad-secret' };
    const { service, line } = await refusal({ ...bad, DATABASE_URL: `pglite:${directory}` });
    assert.deepEqual(service.lines, [line]);
    const problems = line.problems as string[];
    assert.deepEqual(problems.map((problem) => problem.split(' ')[0]).sort(), Object.keys(bad).sort());
    for (const value of Object.values(bad)) assert.ok(!service.output().includes(value), service.output());
    assert.ok(!existsSync(directory));
  });

  test('a shutdown that could cut requests short is refused', async () => {
    const { line } = await refusal({ REQUEST_TIMEOUT_MS: '5000', SHUTDOWN_TIMEOUT_MS: '5000' });
    assert.deepEqual(line.problems, ['SHUTDOWN_TIMEOUT_MS must be longer than REQUEST_TIMEOUT_MS']);
  });

  test('production refuses what is only good for development', async () => {
    const secrets = { JWT_SECRET: `development-${'x'.repeat(32)}`, SECRETS_KEY: `DEVELOPMENTONLYx${'A'.repeat(27)}=` };
    const development = refusal({ APP_ENV: 'production', WEBHOOK_ALLOW_PRIVATE: 'true', ...secrets });
    const nothing = refusal({ APP_ENV: 'production', JWT_SECRET: '' });
    const named = (line: LogLine) => (line.problems as string[]).map((problem) => problem.split(' ')[0]).sort();
    const all = ['DATABASE_URL', 'JWT_SECRET', 'SECRETS_KEY'];
    assert.deepEqual(named((await development).line), [...all, 'WEBHOOK_ALLOW_PRIVATE']);
    assert.deepEqual(named((await nothing).line), all);
    for (const secret of Object.values(secrets)) {
      assert.ok(!(await development).service.output().includes(secret));
    }
  });
});

describe('what it needs is not there', () => {
  test('a port that is taken is told, whichever it is', async (t) => {
    const database = await ownDatabase(t);
    const port = await taken(t);
    const cases = [
      { env: { PORT: String(port) }, setting: 'HOST or PORT' },
      { env: { METRICS_ADDR: `127.0.0.1:${port}` }, setting: 'METRICS_ADDR' },
    ];
    for (const { env, setting } of cases) {
      const { line, service } = await refusal({ DATABASE_URL: database.url, ...env });
      assert.match(messageOf(line), new RegExp(`EADDRINUSE.*127\\.0\\.0\\.1:${port}: change ${setting}$`));
      assert.equal(service.lines.at(-1)?.msg, 'database closed', 'the stop is an orderly one');
    }
  });

  test('a database that cannot be reached is told, without its password', async (t) => {
    const refusing = createServer((socket) => {
      // An ErrorResponse, as Postgres answers a wrong password.
      const fields = 'SFATAL\0C28P01\0Mpassword authentication failed for user "app"\0\0';
      const length = Buffer.alloc(4);
      length.writeUInt32BE(fields.length + 4);
      socket.once('data', () => socket.end(Buffer.concat([Buffer.from('E'), length, Buffer.from(fields)])));
      socket.on('error', () => {});
    });
    t.after(() => refusing.close());
    const closed = `127.0.0.1:${await freePort()}`;
    const open = `127.0.0.1:${await listening(refusing)}`;
    const url = (host: string) => `postgres://app:pa55word@${host}/app`;
    const [unreachable, refused, missing] = await Promise.all([
      refusal({ DATABASE_URL: url(closed) }),
      refusal({ DATABASE_URL: url(open) }),
      refusal({ DATABASE_URL: databaseUrl('no_such_database') }),
    ]);
    assert.equal(messageOf(unreachable.line), 'cannot reach the database: ECONNREFUSED');
    assert.equal(messageOf(refused.line), 'password authentication failed for user "app"');
    assert.equal(messageOf(missing.line), 'database "no_such_database" does not exist');
    for (const { service } of [unreachable, refused]) assert.ok(!service.output().includes('pa55word'));
  });

  test('a database without the schema is told to be migrated', async () => {
    const { line } = await refusal({ DATABASE_URL: databaseUrl('postgres') });
    assert.match(messageOf(line), /npm run db:migrate/);
  });
});

describe('stopping', () => {
  for (const [PROCESSES, what] of [
    ['1', 'the process is'],
    ['2', 'two processes are'],
  ] as const) {
    test(`under load, no accepted request fails, and ${what} gone soon after the slowest`, async (t) => {
      const database = await ownDatabase(t);
      const service = await start(t, {
        DATABASE_URL: database.url,
        REQUEST_TIMEOUT_MS: '30000',
        SHUTDOWN_DELAY_MS: '1000',
        SHUTDOWN_TIMEOUT_MS: '60000',
        PROCESSES,
        RATE_LIMIT_MAX: '100000',
      });
      // Each connection is in use again before the delay is over: one that is closed while idle may fail its next request.
      const agent = new Agent({ keepAlive: true, scheduling: 'fifo' });
      t.after(() => agent.destroy());
      const statuses: Record<string, number> = {};
      const note = (what: string) => {
        statuses[what] = (statuses[what] ?? 0) + 1;
      };
      let lastAnswer = 0;
      let slowest = 0;
      const underWay: Promise<void>[] = [];
      const authorized = headers();
      const ask = async (path: string) => {
        const asked = performance.now();
        try {
          const { status } = await get(agent, service.url + path, authorized);
          note(String(status));
          lastAnswer = performance.now();
          slowest = Math.max(slowest, lastAnswer - asked);
        } catch (error) {
          const { code, reused } = error as NodeJS.ErrnoException & { reused?: boolean };
          // A new connection that is reset was still in the kernel's queue when the listener closed.
          note(code === 'ECONNRESET' && !reused ? 'ECONNREFUSED' : (code ?? String(error)));
        }
      };
      let n = 0;
      const load = setInterval(() => underWay.push(ask(n++ % 5 === 0 ? NOTIFICATIONS : '/health')), 20);
      t.after(() => clearInterval(load));

      const allAnswered = () => Object.keys(statuses).every((status) => status === '200');
      while (allAnswered() && (statuses[200] ?? 0) <= 40) await delay(20);
      const lock = await lockTables(t, database.url);
      await blocked(database.name, 5);
      const exited = service.stop('SIGTERM').then((code) => ({ code, at: performance.now() }));
      await delay(1500);
      await lock.release();
      const { code, at } = await exited;
      clearInterval(load);
      await Promise.all(underWay);

      const { 200: _, ECONNREFUSED: notAccepted = 0, ...failed } = statuses;
      assert.deepEqual(failed, {});
      assert.ok(notAccepted > 0, 'it went on accepting');
      assert.ok(slowest > 1400, `the slowest took ${slowest} ms`);
      assert.equal(code, 0);
      t.diagnostic(`ended ${Math.round(at - lastAnswer)} ms after the last answer`);
    });
  }

  function stopOf(service: Service): string[] {
    const messages = service.lines.map(({ msg }) => msg);
    return messages.slice(messages.indexOf('stopping')).filter((msg) => msg !== 'request');
  }

  test('says that it is not ready, closes kept connections with their next answer, and logs each step', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url, SHUTDOWN_DELAY_MS: '3000' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    await untilReady(service.url);
    const before = await get(agent, `${service.url}/ready`);
    assert.equal(before.status, 200);
    assert.notEqual(before.headers.connection, 'close');

    const exited = service.stop();
    await service.line(({ msg }) => msg === 'not ready');
    const draining = await get(agent, `${service.url}/ready`);
    assert.equal(draining.reused, true);
    assert.equal(draining.status, 503);
    assert.equal(draining.headers['retry-after'], '1');
    assert.equal(draining.headers.connection, 'close');
    const health = await get(agent, `${service.url}/health`);
    assert.equal(health.status, 200, 'the listener stays open until the delay is over');
    assert.equal(await exited, 0);
    assert.deepEqual(stopOf(service), STOP_STEPS.toSpliced(-2, 0, 'doorbell closed'));
  });

  test('names nothing that there was not', async (t) => {
    const { url } = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: url, DISPATCH_ENABLED: 'false', METRICS_ADDR: 'off' });
    assert.equal(await service.stop(), 0);
    const without = STOP_STEPS.filter((step) => !/^(dispatcher|metrics)/.test(step));
    assert.deepEqual(stopOf(service), without.toSpliced(-1, 0, 'doorbell closed'));
  });

  test('connections on which nothing was asked do not hold it up', async (t) => {
    const limits = { READ_TIMEOUT_MS: '60000', IDLE_TIMEOUT_MS: '60000' };
    const service = await start(t, { DATABASE_URL: (await ownDatabase(t)).url, ...limits });
    const { hostname, port } = new URL(service.url);
    const silent = connect(Number(port), hostname);
    await once(silent, 'connect');
    // A connection that was refused, and whose client never closes its half.
    const refused = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    refused.write('nonsense\r\n\r\n');
    refused.resume();
    await once(refused, 'end');
    const agent = new Agent({ keepAlive: true });
    await get(agent, `${service.url}/health`);
    // Past SHUTDOWN_TIMEOUT_MS, long before their own timeouts, it would be 1.
    assert.equal(await service.stop('SIGINT'), 0);
    silent.destroy();
    refused.destroy();
    agent.destroy();
  });

  test('a second signal ends it at once', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url });
    await lockTables(t, database.url);
    const stuck = assert.rejects(post(service.url));
    await blocked(database.name);
    service.process.kill('SIGTERM');
    await service.line(({ msg }) => msg === 'not ready');
    assert.equal(await service.stop('SIGINT'), 1);
    assert.equal(service.lines.at(-1)?.msg, 'stopped at once');
    await stuck;
  });

  test('past SHUTDOWN_TIMEOUT_MS it waits for nobody', async (t) => {
    const service = await start(t, {
      DATABASE_URL: (await ownDatabase(t)).url,
      REQUEST_TIMEOUT_MS: '3000',
      SHUTDOWN_TIMEOUT_MS: '3500',
      READ_TIMEOUT_MS: '60000',
    });
    const { hostname, port } = new URL(service.url);
    const stuck = connect(Number(port), hostname);
    stuck.on('error', () => {});
    t.after(() => stuck.destroy());
    await once(stuck, 'connect');
    // Half a request. The response to a whole one on another connection shows that the half was read.
    stuck.write('GET /health HTTP/1.1\r\nHost: x\r\n');
    await (await fetch(`${service.url}/health`)).text();
    const asked = performance.now();
    assert.equal(await service.stop(), 1);
    const took = performance.now() - asked;
    assert.ok(took > 3400, `${took} ms`);
    assert.match(JSON.stringify(service.lines.at(-1)), /SHUTDOWN_TIMEOUT_MS/);
  });
});

describe('the deadline', () => {
  const REQUEST_TIMEOUT_MS = '3000';

  async function timed(request: Promise<Response>): Promise<{ status: number; ms: number }> {
    const start = performance.now();
    const response = await request;
    await response.text();
    return { status: response.status, ms: performance.now() - start };
  }

  test('cancels a statement that waits for a lock: nothing of it is left, in the server or in the table', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url, DATABASE_POOL_MAX: '3', REQUEST_TIMEOUT_MS });
    const lock = await lockTables(t, database.url);
    const email = uniqueEmail();
    // More than the pool holds: requests that wait for a connection are ended too.
    const answers = await Promise.all(Array.from({ length: 8 }, () => timed(post(service.url, email))));
    for (const { status, ms } of answers) {
      assert.equal(status, 504);
      assert.ok(ms > 2900, `${ms} ms`);
    }
    await until('no statement at work', async () => (await atWork(database.name)).length === 0);
    await lock.release();
    assert.equal(await countOf(database.name, 'notifications'), 0);
    const again = await Promise.all(Array.from({ length: 8 }, () => post(service.url)));
    assert.deepEqual(
      again.map(({ status }) => status),
      Array(8).fill(202),
    );
    assert.equal((await post(service.url, email)).status, 202);
    assert.equal(await countOf(database.name, 'notifications'), 9);
    assert.equal(await service.stop(), 0);
  });

  test('cancels a statement that works for too long', async (t) => {
    const database = await ownDatabase(t);
    await query(
      database.name,
      `create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return new; end $$;
       create trigger dawdle before insert on notifications for each row execute function dawdle()`,
    );
    const service = await start(t, { DATABASE_URL: database.url, REQUEST_TIMEOUT_MS });
    const { status, ms } = await timed(post(service.url));
    assert.equal(status, 504);
    assert.ok(ms > 2900, `${ms} ms`);
    await until('no statement at work', async () => (await atWork(database.name)).length === 0);
    await query(database.name, 'drop trigger dawdle on notifications');
    assert.equal(await countOf(database.name, 'notifications'), 0);
    assert.equal(await countOf(database.name, 'deliveries'), 0);
    assert.equal((await post(service.url)).status, 202);
  });

  test("a statement that is done leaves its connection's next one alone", async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url, DATABASE_POOL_MAX: '1', DISPATCH_ENABLED: 'false' });
    // /ready has a deadline of one second, which passes while the next request is in progress.
    await untilReady(service.url);
    const lock = await lockTables(t, database.url);
    const made = timed(post(service.url));
    await delay(1500);
    await lock.release();
    assert.equal((await made).status, 202);
  });
});

describe('the database goes away and comes back', () => {
  async function assertUnavailable(response: Response): Promise<void> {
    assert.equal(response.status, 503, await response.text());
    assert.equal(response.headers.get('content-type'), 'application/problem+json');
    assert.ok(Number(response.headers.get('retry-after')) >= 1);
  }
  const recovered = (service: Service) =>
    until('a request that succeeds', async () => (await post(service.url)).status === 202);

  test('requests are told to come again, the process lives, and goes on when it is back', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url });
    assert.equal((await post(service.url)).status, 202);
    // Waits until the backends are gone: what is sent to one that is ending has an unknown outcome.
    const terminate = `select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '${database.name}'`;
    await query('postgres', `alter database ${database.name} allow_connections false`);
    await query('postgres', terminate);
    for (let i = 0; i < 3; i++) await assertUnavailable(await post(service.url));
    await assertUnavailable(await fetch(`${service.url}/ready`));
    assert.equal((await fetch(`${service.url}/health`)).status, 200);

    await query('postgres', `alter database ${database.name} allow_connections true`);
    await recovered(service);
    await untilReady(service.url);
    assert.equal(await service.stop(), 0);
  });

  test('a write whose connection is terminated is a 503; one whose connection breaks is a 504 of unknown outcome', async (t) => {
    const database = await ownDatabase(t);
    const proxy = await proxyTo(t, database.url);
    const service = await start(t, { DATABASE_URL: proxy.url });
    const terminate = () =>
      query(
        'postgres',
        `select pg_terminate_backend(pid) from pg_stat_activity
         where datname = '${database.name}' and application_name = 'keelson'`,
      );
    const assertUnknown = async (response: Response) => {
      assert.equal(response.status, 504);
      assert.match(((await response.json()) as { type: string }).type, /\/problems\/outcome-unknown$/);
    };
    const breaks: [breakOff: () => unknown, assertAnswer: (response: Response) => Promise<void>][] = [
      [terminate, assertUnavailable],
      [() => proxy.cut(), assertUnknown],
    ];
    for (const [breakOff, assertAnswer] of breaks) {
      const lock = await lockTables(t, database.url);
      const answers: Promise<Response>[] = [];
      // One by one, as those that come together share a transaction, and may be sent again.
      for (const n of [1, 2, 3]) {
        answers.push(post(service.url));
        await until(`${n} writes`, async () => {
          const queries = (await atWork(database.name)).map(({ query }) => String(query));
          return queries.filter((text) => text.includes('with recipient as')).length === n;
        });
      }
      await breakOff();
      for (const answer of await Promise.all(answers)) await assertAnswer(answer);
      await lock.release();
      await recovered(service);
    }
    assert.equal(await service.stop(), 0);
  });
});

describe('metrics', () => {
  test('tell of requests by route template, connections and notifications, on a listener of their own', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url, DATABASE_POOL_MAX: '7' });
    const { id } = (await (await post(service.url)).json()) as { id: string };
    await (await fetch(`${service.url}${NOTIFICATIONS}/${id}`, { headers: headers() })).text();
    await (await fetch(`${service.url}/api/v1/nope/${id}`, { headers: headers() })).text();
    await service.line(({ msg }) => msg === 'notification sent');
    const lock = await lockTables(t, database.url);
    const waiting = post(service.url);
    await blocked(database.name);
    const text = await scrape(service);
    await lock.release();
    await waiting;

    assert.match(
      text,
      /^http_request_duration_seconds_count\{method="GET",route="\/api\/v1\/notifications\/:id",status="200"\} 1$/m,
    );
    assert.match(
      text,
      /^http_request_duration_seconds_count\{method="POST",route="\/api\/v1\/notifications",status="202"\} 1$/m,
    );
    assert.match(text, /^http_request_duration_seconds_count\{method="GET",route="unmatched",status="404"\} 1$/m);
    assert.match(text, /^http_requests_in_flight 1$/m);
    for (const state of ['total', 'idle', 'waiting']) {
      assert.match(text, new RegExp(`^db_pool_connections\\{state="${state}"\\} \\d$`, 'm'));
    }
    for (const status of ['pending', 'sent', 'dead', 'canceled']) {
      assert.match(text, new RegExp(`^notifications\\{status="${status}"\\} \\d+$`, 'm'));
    }
    assert.match(text, /^notifications_oldest_due_age_seconds \d/m);
    assert.match(text, /^notification_delivery_duration_seconds_count\{channel="email",outcome="sent"\} 1$/m);
    assert.match(text, /^dispatcher_ticks_total [1-9]/m);
    assert.match(text, /^dispatcher_tick_errors_total 0$/m);
    assert.match(text, /^process_cpu_seconds_total /m);
    assert.ok(!text.includes(id), 'an id would be a label of its own for each resource');

    assert.equal((await fetch(`${await metricsUrl(service)}?job=x`)).status, 200);
    assert.equal((await fetch(`${service.url}/metrics`)).status, 404);
    assert.equal((await fetch(new URL('/health', await metricsUrl(service)))).status, 404);
  });

  test('go on while the database is away', async (t) => {
    const database = await ownDatabase(t);
    const proxy = await proxyTo(t, database.url);
    const service = await start(t, { DATABASE_URL: proxy.url });
    await query('postgres', `alter database ${database.name} allow_connections false`);
    proxy.cut();
    assert.match(await scrape(service), /^http_requests_in_flight 0$/m);
  });

  test('are off with METRICS_ADDR=off', async (t) => {
    const service = await start(t, { DATABASE_URL: (await ownDatabase(t)).url, METRICS_ADDR: 'off' });
    assert.ok(!service.lines.some(({ msg }) => msg === 'metrics listening'));
    assert.equal(await service.stop(), 0);
  });
});

describe('the log', () => {
  test('has one line per request, which continues the trace and holds nothing personal', async (t) => {
    const service = await start(t, { DATABASE_URL: (await ownDatabase(t)).url });
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const authorized = headers({ claims: { sub: 'alice' } });
    await fetch(`${service.url}/api/v1/webhook-endpoints?cursor=${encodeURIComponent('some.one@example.com')}`, {
      headers: { ...authorized, 'X-Request-Id': 'mine', traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
    });
    const line = await service.line(({ requestId }) => requestId === 'mine');
    const { time, durationMs, ...rest } = line;
    assert.match(time as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok((durationMs as number) > 0 && (durationMs as number) < 5000);
    const request = { level: 'info', msg: 'request', requestId: 'mine', traceId, method: 'GET' };
    assert.deepEqual(rest, { ...request, path: '/api/v1/webhook-endpoints', status: 400, sub: 'alice' });

    await fetch(`${service.url}/api/v1/webhook-endpoints/some.one@example.com`, {
      headers: { ...headers({ claims: { sub: 'some.one@example.com' } }), 'X-Request-Id': 'personal' },
    });
    const personal = await service.line(({ requestId }) => requestId === 'personal');
    assert.equal(personal.path, '/api/v1/webhook-endpoints/[redacted]');
    assert.equal(personal.sub, '[redacted]');
    assert.equal(personal.status, 404);
    assert.match(personal.traceId as string, /^[0-9a-f]{32}$/);

    const escaped = `${service.url}/api/v1/webhook-endpoints/some.one%40example.com`;
    const unauthorized = { Authorization: `Bearer ${token({ secret: 'x'.repeat(40) })}`, 'X-Request-Id': 'escaped' };
    await fetch(escaped, { headers: { ...unauthorized, traceparent: '00-nonsense-01' } });
    const refused = await service.line(({ requestId }) => requestId === 'escaped');
    assert.equal(refused.status, 401);
    assert.equal(refused.sub, undefined);
    assert.match(refused.traceId as string, /^[0-9a-f]{32}$/);
    assert.equal(await service.stop(), 0);
    const json = service.lines.map((each) => JSON.stringify(each)).join('\n');
    assert.doesNotMatch(json, /some\.one/);
    assert.doesNotMatch(json, TOKEN);
    assert.ok(!json.includes(SECRET));
  });

  test('LOG_LEVEL=error keeps request lines out of it', async (t) => {
    const service = await startQuietly(t, { DATABASE_URL: (await ownDatabase(t)).url, LOG_LEVEL: 'error' });
    assert.equal((await post(service.url)).status, 202);
    assert.equal(await service.stop(), 0);
    assert.deepEqual(service.lines, []);
  });
});

/** Like `start`, for a log without the line `listening`. */
async function startQuietly(t: TestContext, env: Env): Promise<Service> {
  const service = spawnService(env);
  t.after(() => service.stop('SIGKILL'));
  service.url = (await printed(service, /^Keelson is listening on .*$/m)).replace(/^.* /, '');
  return service;
}

describe('settings', () => {
  test('HOST and PORT say where it listens', async (t) => {
    const port = await freePort();
    const service = await start(t, { DATABASE_URL: (await ownDatabase(t)).url, HOST: 'localhost', PORT: String(port) });
    assert.match(service.url, new RegExp(`^http://(127\\.0\\.0\\.1|\\[::1\\]):${port}$`));
    assert.equal((await fetch(`${service.url}/health`)).status, 200);
  });

  test('DISPATCH_ENABLED=false leaves notifications to another process', async (t) => {
    const database = await ownDatabase(t);
    const service = await start(t, { DATABASE_URL: database.url, DISPATCH_ENABLED: 'false' });
    assert.equal((await post(service.url)).status, 202);
    assert.equal(await service.stop(), 0);
    assert.ok(!service.lines.some(({ msg }) => msg.startsWith('notification')));
    assert.equal(await countOf(database.name, 'deliveries'), 1);
    const other = await start(t, { DATABASE_URL: database.url });
    await other.line(({ msg }) => msg === 'notification sent');
    await until('no delivery left', async () => (await countOf(database.name, 'deliveries')) === 0);
  });

  test('production starts with a database and secrets of its own, and prints no token', async (t) => {
    const service = await start(t, {
      APP_ENV: 'production',
      DATABASE_URL: (await ownDatabase(t)).url,
      SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
    });
    assert.equal((await post(service.url)).status, 202);
    assert.doesNotMatch((await run('curl', docsOpened(service.url))).stdout, TOKEN);
    assert.equal(await service.stop(), 0);
    assert.doesNotMatch(service.output(), TOKEN);
    assert.doesNotMatch(service.output(), /curl/);
  });
});
