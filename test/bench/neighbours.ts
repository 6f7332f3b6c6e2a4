// How long a good endpoint waits beside others that are slow, have a backlog, or have a silent name server.
import { setTimeout as pass } from 'node:timers/promises';
import { webhookChannel } from '../../src/dispatcher/channels/webhook.ts';
import { systemClock } from '../../src/dispatcher/clock.ts';
import { createDispatcher } from '../../src/dispatcher/dispatch.ts';
import { databaseQueue } from '../../src/dispatcher/queue.ts';
import { parseConfig } from '../../src/entry/config.ts';
import { settingsOf } from '../../src/entry/dispatcher.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { socketSend } from '../../src/platform/send-sockets.ts';
import { nodeSign } from '../../src/platform/sign-node.ts';
import { createDatabase } from '../support/databases.ts';
import { SECRET, silent } from '../support/deps.ts';
import { startNameServer } from '../support/name-server.ts';
import { enqueue, newEndpoint } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';
import { round, spread } from './figures.ts';
import type { Promised } from './isolation-section.ts';
import { queueDue, register } from './seed.ts';

const SECONDS = 40;
const EVERY_MS = 250;
const SLOW_MS = 14_000;
/** Deliveries due for each slow endpoint: more than it can take meanwhile. */
const BACKLOG = 200;
const MILLION = 1_000_000;
const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
/** The number of timed deliveries to endpoints with a name, their interval, and the number of such endpoints. */
const NAMED = 250;
const NAMED_EVERY_MS = 40;
const NAMES = 5;

/** Measures a good endpoint that is sent an event every 250 ms, beside slow ones with a backlog each. */
export function besideSlow(count: number, env: Record<string, string>): Promise<Promised[]> {
  return withService(env, async (service, sink, database) => {
    const good = await register(service, sink.url('/good'));
    for (let i = 0; i < count; i++) {
      sink.reply(`/slow-${i}`, (_, response) => {
        setTimeout(() => response.writeHead(204).end(), SLOW_MS);
      });
      await queueDue(database, { [await register(service, sink.url(`/slow-${i}`))]: BACKLOG });
    }
    const waits: number[] = [];
    const times = (SECONDS * 1000) / EVERY_MS;
    for (let i = 1; i <= times; i++) {
      const next = pass(EVERY_MS);
      await tell(service, good);
      const asked = performance.now();
      void sink.received('/good', i).then((hooks) => waits.push((hooks[i - 1]?.at ?? 0) - asked));
      await next;
    }
    await sink.received('/good', times);
    await pass(0);
    const called = new Set(sink.hooks.map(({ path }) => path)).size - 1;
    const settings = Object.entries(env).map((pair) => `, ${pair.join('=')}`);
    const beside = `${count} endpoints that take ${SLOW_MS / 1000} s${settings.join('')}`;
    return [
      { beside, figure: 'a good endpoint, p99, ms', value: spread(waits).p99, atMost: 250 },
      { beside, figure: 'slow endpoints called', value: called, atLeast: count },
    ];
  });
}

/** Measures what another endpoint and a PUT wait beside a million due rows each of a full and a paused endpoint. */
export function besideBacklogs(): Promise<Promised[]> {
  return withService({}, async (service, sink, database) => {
    const good = await register(service, sink.url('/good'));
    sink.reply('/full', () => {});
    const full = await register(service, sink.url('/full'));
    const paused = await register(service, sink.url('/paused'));
    const waits = async () => {
      const each: number[] = [];
      const before = sink.hooks.filter(({ path }) => path === '/good').length;
      for (let i = 1; i <= 40; i++) {
        await tell(service, good);
        const asked = performance.now();
        each.push(((await sink.received('/good', before + i))[before + i - 1]?.at ?? 0) - asked);
      }
      return spread(each);
    };
    const alone = await waits();
    await query(
      database,
      `update webhook_endpoints set status = 'paused', paused_until = now() + interval '1 hour' where id = $1`,
      [paused],
    );
    for (const id of [full, paused]) await queueDue(database, { [id]: MILLION });
    await query(database, 'vacuum analyze');
    await tell(service, full);
    await sink.received('/full');
    const { p50, max } = await waits();
    const asked = performance.now();
    const body = JSON.stringify({ url: sink.url('/paused'), events: ['nothing.ever'] });
    const init = { method: 'PUT', headers: headers(), body };
    const { status } = await fetch(`${service.url}/api/v1/webhook-endpoints/${paused}`, init);
    const putMs = round(performance.now() - asked, 1);
    if (status !== 200) throw new Error(`PUT on the paused endpoint: ${status}`);
    const beside = '1,000,000 due of a full and of a paused endpoint each';
    return [
      { beside: 'nothing', figure: 'a good endpoint, p50, ms', value: alone.p50 },
      { beside, figure: 'a good endpoint, p50, ms', value: p50 },
      { beside, figure: 'a good endpoint, longest, ms', value: max, atMost: 1000 },
      { beside, figure: 'PUT on the paused one, ms', value: putMs, atMost: 100 },
    ];
  });
}

/** Endpoints whose names resolve, alone and beside one with a silent name server. In-process, to have a name server. */
export async function besideSilentNames(): Promise<Promised[]> {
  const database = await createDatabase();
  const sink = await startSink();
  const { port } = new URL(sink.url('/'));
  const names = await startNameServer((name) => (name.startsWith('silent') ? 'silence' : ['127.0.0.1']));
  const { db, close } = openPostgres({ url: database.url, poolMax: 4, statementTimeoutMs: 5000, log: silent });
  const settings = settingsOf(parseConfig({ DATABASE_URL: database.url, JWT_SECRET: SECRET, SECRETS_KEY }));
  const sender = socketSend({
    allowPrivate: true,
    timeoutMs: settings.deliveryTimeoutMs,
    servers: [names.address],
  });
  const secrets = createSecretBox(SECRETS_KEY);
  const webhook = webhookChannel({ send: sender.send, secrets, now: () => new Date(), sign: nodeSign() });
  const dispatcher = createDispatcher({
    queue: databaseQueue(db, { name: 'bench', leaseMs: settings.leaseMs, everyMs: settings.intervalMs }),
    channels: { webhook, email: webhook },
    clock: systemClock,
    log: silent,
    metrics: { delivery() {}, dispatcherTick() {} },
    random: Math.random,
    settings,
  });
  const running = dispatcher.run();
  try {
    const secret = await secrets.seal(`whsec_${Buffer.alloc(32, 1).toString('base64')}`);
    const at = (name: string) => newEndpoint(db, `http://${name}.example:${port}/${name}`, secret);
    const good = await Promise.all(Array.from({ length: NAMES }, (_, i) => at(`good-${i}`)));
    const waits = async () => {
      const before = sink.hooks.length;
      const asked: [string, number][] = [];
      for (let i = 0; i < NAMED; i++) {
        const next = pass(NAMED_EVERY_MS);
        const [id] = await enqueue(db, 1, good[i % NAMES]);
        asked.push([id as string, performance.now()]);
        dispatcher.wake();
        await next;
      }
      const paths = good.map((_, i) => `/good-${i}`);
      await Promise.all(paths.map((path) => sink.received(path, (before + NAMED) / NAMES)));
      const arrived = new Map(sink.hooks.map(({ headers, at }) => [String(headers['webhook-id']), at]));
      return spread(asked.map(([id, since]) => (arrived.get(id) as number) - since));
    };
    // The first run takes longer.
    await waits();
    const alone = await waits();
    await enqueue(db, BACKLOG, await at('silent'));
    const { p99 } = await waits();
    const failed = await query(
      database.name,
      `select a.at from attempts a join notifications n on n.id = a.notification_id where n.endpoint_id = any($1)`,
      [good],
    );
    const beside = 'an endpoint whose name server is silent';
    return [
      { beside: 'nothing', figure: `${NAMES} endpoints with names, p99, ms`, value: alone.p99 },
      { beside, figure: `${NAMES} endpoints with names, p99, ms`, value: p99, atMost: round(2 * alone.p99, 1) },
      { beside, figure: 'their failed deliveries', value: failed.length, atMost: 0 },
    ];
  } finally {
    dispatcher.stop(AbortSignal.abort());
    await running;
    await sender.close();
    await close();
    names.close();
    await sink.close();
    await database.drop();
  }
}

async function withService<T>(env: Record<string, string>, work: (s: Service, sink: Sink, db: string) => Promise<T>) {
  const database = await createDatabase();
  const sink = await startSink();
  const service = await startService({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000', ...env });
  try {
    return await work(service, sink, database.name);
  } finally {
    await service.stop('SIGKILL');
    await sink.close();
    await database.drop();
  }
}

/** Sends a test event to an endpoint. */
async function tell({ url }: Service, id: string): Promise<void> {
  const asked = await fetch(`${url}/api/v1/webhook-endpoints/${id}/test`, { method: 'POST', headers: headers() });
  if (asked.status !== 202) throw new Error(await asked.text());
  await asked.arrayBuffer();
}
