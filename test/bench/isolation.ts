// npm run bench:isolation [-- <seconds>]: what a good endpoint waits beside slow ones, and beside a million due rows.
import { setTimeout as pass } from 'node:timers/promises';
import { createDatabase } from '../support/databases.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';
import { spread } from './figures.ts';
import { queueDue, register } from './seed.ts';

const SECONDS = Number(process.argv[2] ?? 40);
const EVERY_MS = 250;
const SLOW_MS = 14_000;
/** Due for each slow endpoint: more than it can take meanwhile. */
const BACKLOG = 200;
const MILLION = 1_000_000;

type Row = Record<string, string | number>;

const postgres = await startPostgres({ durable: true });
const rows: Row[] = [];
try {
  rows.push(await besideSlow(6, {}));
  rows.push(await besideSlow(50, { DISPATCH_CONCURRENCY: '64' }));
  console.table(rows);
  console.table(await besideMillion());
} finally {
  await postgres.stop();
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

/** Slow endpoints with a backlog each, and a good one that is told something every 250 ms. */
function besideSlow(count: number, env: Record<string, string>): Promise<Row> {
  return withService(env, async (service, sink, database) => {
    const good = await register(service, sink.url('/good'));
    for (let i = 0; i < count; i++) {
      sink.reply(`/slow-${i}`, (_, response) => {
        setTimeout(() => response.writeHead(204).end(), SLOW_MS);
      });
      await queueDue(database, { [await register(service, sink.url(`/slow-${i}`))]: BACKLOG });
    }
    const waits: number[] = [];
    for (let i = 1; i <= (SECONDS * 1000) / EVERY_MS; i++) {
      const next = pass(EVERY_MS);
      await test(service, good);
      const asked = performance.now();
      void sink.received('/good', i).then((hooks) => waits.push((hooks[i - 1]?.at ?? 0) - asked));
      await next;
    }
    await sink.received('/good', (SECONDS * 1000) / EVERY_MS);
    await pass(0);
    const called = new Set(sink.hooks.map(({ path }) => path)).size - 1;
    return { beside: `${count} at ${SLOW_MS} ms`, ...spread(waits), 'slow ones called': `${called} of ${count}` };
  });
}

/** A million due rows of one endpoint that is full and one that is paused: what the next endpoint waits, and a PUT. */
function besideMillion(): Promise<Row[]> {
  return withService({}, async (service, sink, database) => {
    const good = await register(service, sink.url('/good'));
    sink.reply('/full', () => {});
    const full = await register(service, sink.url('/full'));
    const paused = await register(service, sink.url('/paused'));
    const result: Row[] = [];
    const measure = async (beside: string) => {
      const waits: number[] = [];
      const before = sink.hooks.filter(({ path }) => path === '/good').length;
      for (let i = 1; i <= 40; i++) {
        await test(service, good);
        const asked = performance.now();
        waits.push(((await sink.received('/good', before + i))[before + i - 1]?.at ?? 0) - asked);
      }
      result.push({ beside, ...spread(waits) });
    };
    await measure('nothing');
    await query(
      database,
      `update webhook_endpoints set status = 'paused', paused_until = now() + interval '1 hour' where id = $1`,
      [paused],
    );
    for (const id of [full, paused]) await queueDue(database, { [id]: MILLION });
    await query(database, 'vacuum analyze');
    await test(service, full);
    await sink.received('/full');
    await measure('1,000,000 due of a full and of a paused endpoint');
    const asked = performance.now();
    const body = JSON.stringify({ url: sink.url('/paused'), events: ['nothing.ever'] });
    const init = { method: 'PUT', headers: headers(), body };
    const { status } = await fetch(`${service.url}/api/v1/webhook-endpoints/${paused}`, init);
    result.push({ beside: `PUT on the paused one: ${status}`, p50: Math.round(performance.now() - asked) });
    return result;
  });
}

async function test({ url }: Service, id: string): Promise<void> {
  const asked = await fetch(`${url}/api/v1/webhook-endpoints/${id}/test`, { method: 'POST', headers: headers() });
  if (asked.status !== 202) throw new Error(await asked.text());
  await asked.arrayBuffer();
}
