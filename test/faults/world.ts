// What a fault strikes: the service as processes, its database, and receivers; addresses outlive what is behind them.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { migratePostgres } from '../../src/platform/migrate.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { type Cluster, freePort, queryOn, startCluster } from '../support/cluster.ts';
import { startProxy, type TcpProxy } from '../support/proxy.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';
import { type BadNeon, startBadNeon } from './bad-neon.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { ENDPOINTS } from './judge.ts';
import { mountDisk } from './small-disk.ts';

export type WorldOptions = {
  /** How the service reaches its database: by default, through a TCP proxy. */
  by?: 'proxy' | 'neon' | 'pglite';
  runtime?: keyof typeof COMMANDS;
  /** One process that does everything; an API and a dispatcher; or two alike behind a balancer. */
  processes?: 'one' | 'split' | 'two';
  env?: Record<string, string>;
  cluster?: Parameters<typeof startCluster>[0];
  /** Gives the database server a disk of its own, of this many MiB. */
  diskMib?: number;
  /** Requests per second of the clients. */
  perSecond?: number;
};

export type World = {
  /** Where clients reach the API. */
  url: string;
  cluster: Cluster;
  /** The folder of the cluster's disk, if it has its own. */
  disk: string | undefined;
  proxy: TcpProxy;
  neon: BadNeon;
  sink: Sink;
  balancer: Balancer | undefined;
  services: Service[];
  /** The database's URL, for inspection from outside. */
  databaseUrl: string;
  /** The database's URL as the service itself uses it. */
  appUrl: string;
  /** Runs SQL as an operator does; on PGlite, only once the service has stopped. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  /** Starts service number `index` again, at the same address. */
  restart(index: number): Promise<Service>;
  stopServices(): Promise<(number | string)[]>;
  close(): Promise<void>;
};

/** The database role of the service itself. */
const ROLE = 'app';

export const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
/** The server never asks for it. */
export const DATABASE_PASSWORD = 'pa55word-of-the-app';

const ENV = {
  SECRETS_KEY,
  RATE_LIMIT_MAX: '1000000',
  REQUEST_TIMEOUT_MS: '2000',
  DISPATCH_INTERVAL_MS: '500',
  // A machine that stalls for two seconds is not a receiver's fault.
  DISPATCH_LEASE_MS: '6000',
  DELIVERY_TIMEOUT_MS: '3000',
};

export async function makeWorld(options: WorldOptions = {}): Promise<World> {
  const { by = 'proxy', processes = 'one', runtime = 'node' } = options;
  const undo: (() => unknown)[] = [];
  const close = async () => {
    for (const step of undo.reverse()) {
      try {
        await step();
      } catch (error) {
        console.error('not cleaned up:', error);
      }
    }
  };
  try {
    const disk = options.diskMib ? mountDisk(options.diskMib) : undefined;
    undo.push(() => disk?.unmount());
    const cluster = await startCluster({ durable: true, ...options.cluster, ...(disk && { parent: disk.path }) });
    undo.push(() => cluster.remove());
    await queryOn(`${cluster.url}postgres`, `create role ${ROLE} login`);
    await queryOn(`${cluster.url}postgres`, `create database app owner ${ROLE}`);
    const databaseUrl = `${cluster.url}app`;
    const appUrl = databaseUrl.replace('postgres@', `${ROLE}:${DATABASE_PASSWORD}@`);
    await migratePostgres(appUrl);

    const proxy = await startProxy(appUrl);
    undo.push(() => proxy.close());
    const endpoint = await startNeonEndpoint({ backend: postgresBackend(appUrl) });
    undo.push(() => endpoint.close());
    const neon = await startBadNeon(endpoint.url);
    undo.push(() => neon.close());
    const sink = await startSink();
    undo.push(() => sink.close());
    const folder = mkdtempSync(join(tmpdir(), 'keelson-faults-'));
    undo.push(() => rmSync(folder, { recursive: true, force: true }));

    const database = {
      proxy: { DATABASE_URL: proxy.url },
      neon: { DATABASE_URL: appUrl, DATABASE_FETCH_ENDPOINT: neon.url },
      pglite: { DATABASE_URL: `pglite:${join(folder, 'db')}` },
    }[by];
    const each: Record<string, string>[] = {
      one: [{}],
      split: [{ DISPATCH_ENABLED: 'false' }, {}],
      two: [{ SHUTDOWN_DELAY_MS: '1000' }, { SHUTDOWN_DELAY_MS: '1000' }],
    }[processes];
    const starts = await Promise.all(
      each.map(async (own) => {
        const env = { ...ENV, ...database, ...own, ...options.env, PORT: String(await freePort()) };
        return () => startService(env, COMMANDS[runtime]);
      }),
    );
    const services: Service[] = [];
    const stopServices = () => Promise.all(services.map((service) => service.stop()));
    undo.push(() => Promise.all(services.map((service) => service.stop('SIGKILL'))));
    for (const start of starts) services.push(await supervised(start));

    const balancer = processes === 'two' ? await startBalancer(services.map(({ url }) => url)) : undefined;
    undo.push(() => balancer?.close());
    const world: World = {
      url: balancer?.url ?? (services[0] as Service).url,
      cluster,
      disk: disk?.path,
      proxy,
      neon,
      sink,
      balancer,
      services,
      databaseUrl,
      appUrl,
      query: (sql) => (by === 'pglite' ? queryEmbedded(join(folder, 'db'), sql) : queryOn(databaseUrl, sql)),
      async restart(index) {
        const service = await (starts[index] as () => Promise<Service>)();
        services[index] = service;
        return service;
      },
      stopServices,
      close,
    };
    await addEndpoints(world);
    return world;
  } catch (error) {
    await close();
    throw error;
  }
}

async function queryEmbedded(directory: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = await PGlite.create(directory);
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.close();
  }
}

async function addEndpoints({ url, sink }: World): Promise<void> {
  for (let i = 0; i < ENDPOINTS; i++) {
    await registerEndpoint(url, sink.url(`/${i}`), ['fault.event']);
  }
}

/** Retries a start that did not reach the database in time, as a supervisor does. */
async function supervised(start: () => Promise<Service>): Promise<Service> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

/** Registers a webhook endpoint and returns its id. Repeats a request that got a 504, under the same key. */
export async function registerEndpoint(api: string, url: string, events: string[]): Promise<string> {
  const key = { 'Idempotency-Key': randomUUID() };
  const ask = () =>
    fetch(`${api}/api/v1/webhook-endpoints`, {
      method: 'POST',
      headers: { ...headers(), ...key },
      body: JSON.stringify({ url, events }),
    });
  let made = await ask();
  for (let retries = 3; made.status === 504 && retries > 0; retries--) made = await ask();
  assert.equal(made.status, 201, await made.clone().text());
  return ((await made.json()) as { id: string }).id;
}
