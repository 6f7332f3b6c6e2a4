import { setTimeout as pass } from 'node:timers/promises';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { cpuMs } from '../support/processes.ts';
import { round } from './figures.ts';
import { startReceivers } from './receivers.ts';
import { queueDue, register, settleDown } from './seed.ts';
import { startServer } from './server.ts';

/** Settings with which Postgres and the CPU are the limit, the way the peers are measured. */
export const WIDE = { DISPATCH_CONCURRENCY: '400', DISPATCH_BATCH: '2000' };

const WARM_UP = 1000;
const WITHIN_MS = 120_000;

type Options = {
  postgres: { pid: number };
  /** The number of due deliveries, and how many of them to wait for; all by default. */
  due: number;
  wait?: number;
  endpoints?: number;
  env?: Record<string, string>;
};
export type Drain = { perSecond: number; serverMs: number; postgresMs: number; deliveries: number };

/** Measures the deliveries per second of a backlog, from first to last arrival, and what a delivery costs. */
export async function measureDrain({ postgres, due, wait = due, endpoints = 10, env = {} }: Options): Promise<Drain> {
  const database = await createDatabase();
  const receivers = await startReceivers({ count: endpoints });
  // Without a tick, nothing starts before a ring.
  const settings = { PROCESSES: '1', LOG_LEVEL: 'warn', DISPATCH_INTERVAL_MS: '3600000' };
  const server = await startServer(database.url, { ...settings, ...env });
  try {
    const ids: string[] = [];
    for (const url of receivers.urls) ids.push(await register(server, url));
    const each = (count: number) => Object.fromEntries(ids.map((id) => [id, Math.ceil(count / endpoints)]));

    const run = async (count: number, expected: number) => {
      const { arrived } = await receivers.expect(expected);
      await queueDue(database.name, each(count));
      await settleDown(database.name);
      const before = { server: cpuMs(server.pid), postgres: cpuMs(postgres.pid) };
      await query(database.name, 'notify keelson_due');
      const { first, last } = await inTime(arrived);
      if (expected === count) await untilSettled(database.name);
      const used = { server: cpuMs(server.pid) - before.server, postgres: cpuMs(postgres.pid) - before.postgres };
      return {
        perSecond: Math.round(((expected - 1) * 1000) / (last - first)),
        serverMs: round(used.server / expected, 4),
        postgresMs: round(used.postgres / expected, 4),
        deliveries: expected,
      };
    };
    await run(WARM_UP, WARM_UP);
    return await run(due, wait);
  } finally {
    await server.stop('SIGKILL');
    receivers.stop();
    await database.drop();
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  const late = pass(WITHIN_MS, undefined, { ref: false }).then(() => {
    throw new Error(`not delivered within ${WITHIN_MS} ms`);
  });
  return Promise.race([work, late]);
}

/** Polls, because nothing signals that a queue is empty. */
async function untilSettled(database: string): Promise<void> {
  for (const end = performance.now() + WITHIN_MS; performance.now() < end; await pass(20)) {
    if ((await query(database, 'select 1 from deliveries limit 1')).length === 0) return;
  }
  throw new Error(`not settled within ${WITHIN_MS} ms`);
}
