// Faults of the database itself.
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pass } from 'node:timers/promises';
import pg from 'pg';
import { queryOn } from '../../support/cluster.ts';
import type { Fault, Strike } from '../fault.ts';
import { whyNoDisk } from '../small-disk.ts';
import type { World } from '../world.ts';

const kind = 'Postgres';
const STORM_EVERY_MS = 200;
/** How many times rows are locked, a tenth of a second apart. */
const LOCKINGS = 20;
const OF_THE_APP = `from pg_stat_activity where usename = 'app' and pid <> pg_backend_pid()`;

const stopped = (name: string, signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Fault => ({
  name,
  kind,
  ready: 'turns',
  async strike({ cluster }, { holdMs, lifts }) {
    await cluster.stop(signal);
    await pass(holdMs);
    lifts();
    await cluster.start();
  },
});

export const postgresFaults: Fault[] = [
  stopped('stopped in order, and started again', 'SIGINT'),
  stopped('stopped at once, and started again', 'SIGQUIT'),
  { ...stopped('killed, and started again', 'SIGKILL'), short: true },
  {
    name: 'one of its processes killed, so that all start over',
    kind,
    ready: 'any',
    async strike({ cluster, databaseUrl }) {
      const [victim] = await queryOn(databaseUrl, `select pid ${OF_THE_APP} limit 1`);
      process.kill(Number(victim?.pid), 'SIGKILL');
      await pass(100);
      await cluster.untilReady();
    },
  },
  {
    name: 'frozen for ten seconds',
    kind,
    ready: 'turns',
    holdMs: 10_000,
    async strike({ cluster }, { holdMs }) {
      cluster.freeze();
      await pass(holdMs);
      cluster.thaw();
    },
  },
  {
    name: 'its connections terminated in storms',
    kind,
    ready: 'any',
    harmless: true,
    short: true,
    async strike({ databaseUrl }, { holdMs, untrue }) {
      let terminated = 0;
      for (const end = performance.now() + holdMs; performance.now() < end; await pass(STORM_EVERY_MS)) {
        terminated += (await queryOn(databaseUrl, `select pg_terminate_backend(pid) ${OF_THE_APP}`)).length;
      }
      if (terminated === 0) untrue('it had no connection to lose');
    },
  },
  {
    name: 'out of connections, two left to the service',
    kind,
    ready: 'stays',
    harmless: true,
    strike: (world, strike) => withoutConnections(world, 2, strike),
  },
  {
    name: 'out of connections, none left to the service',
    kind,
    ready: 'turns',
    strike: (world, strike) => withoutConnections(world, 0, strike),
  },
  {
    name: 'read-only, as after a failover',
    kind,
    ready: 'turns',
    short: true,
    async strike({ databaseUrl }, { holdMs, lifts }) {
      const set = async (value: string) => {
        await queryOn(databaseUrl, `alter system set default_transaction_read_only = ${value}`);
        await queryOn(databaseUrl, 'select pg_reload_conf()');
      };
      await set('on');
      await pass(holdMs);
      lifts();
      await set('off');
    },
  },
  {
    name: 'its disk full',
    kind,
    ready: 'any',
    impossible: whyNoDisk,
    world: { diskMib: 320, cluster: { settings: ['max_wal_size=64MB', 'min_wal_size=32MB'] } },
    strike: fillDisk,
  },
  {
    name: 'a transaction held open for a minute, with a row that is written to',
    kind,
    ready: 'stays',
    holdMs: 60_000,
    async strike({ databaseUrl }, { holdMs }) {
      const snapshot = new pg.Client({ connectionString: databaseUrl });
      const locks = new pg.Client({ connectionString: databaseUrl });
      await Promise.all([snapshot.connect(), locks.connect()]);
      try {
        await snapshot.query('begin isolation level repeatable read');
        await snapshot.query('select count(*) from deliveries');
        await locks.query('begin');
        // Clients change an endpoint once, soon after they have created it: some of the newest are about to be.
        for (let i = 0; i < LOCKINGS; i++) {
          await locks.query('select 1 from webhook_endpoints order by created_at desc limit 5 for update skip locked');
          await pass(100);
        }
        await pass(holdMs);
      } finally {
        await Promise.all([snapshot.end(), locks.end()]);
      }
    },
  },
];

/** Leaves the service `left` of its connections, and refuses it new ones (53300). */
async function withoutConnections({ databaseUrl }: World, left: number, { holdMs, lifts }: Strike): Promise<void> {
  await queryOn(databaseUrl, `alter role app connection limit ${left}`);
  // It may have no more than that at the moment: then it gets no more.
  await queryOn(
    databaseUrl,
    `select pg_terminate_backend(pid) from (select pid ${OF_THE_APP} offset ${left}) as others`,
  );
  await pass(holdMs);
  lifts();
  await queryOn(databaseUrl, 'alter role app connection limit -1');
}

/** Fills the disk to the last byte, including what the server frees meanwhile. */
async function fillDisk({ cluster, disk }: World, { holdMs }: Strike): Promise<void> {
  const ballast = join(disk as string, 'ballast');
  const file = openSync(ballast, 'w');
  const block = Buffer.alloc(65_536);
  for (const end = performance.now() + holdMs; performance.now() < end; await pass(50)) while (couldWrite(file, block));
  closeSync(file);
  unlinkSync(ballast);
  // Without room for its log the server exits, and whoever makes room starts it again.
  if (!cluster.isRunning()) await cluster.start();
  await cluster.untilReady();
}

function couldWrite(file: number, block: Buffer): boolean {
  try {
    return writeSync(file, block) > 0;
  } catch {
    return false;
  }
}
