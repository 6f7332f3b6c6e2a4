// npm run bench:growth [-- <part>…]: how cost grows with the amount of data; writes growth.json beside this file. Named
// parts are measured again, the others are kept.
import { join } from 'node:path';
import { FIRST_LANE } from '../../src/dispatcher/lanes.ts';
import { databaseQueue } from '../../src/dispatcher/queue.ts';
import type { Settlement } from '../../src/dispatcher/settlements.ts';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { cpuMs } from '../support/processes.ts';
import { measureDrain, WIDE } from './drain.ts';
import { median, round } from './figures.ts';
import { type Ask, type Load, load } from './load.ts';
import { CREATE, EVENT, LIST, NAME, READ } from './measured.ts';
import { measureInto } from './parts.ts';
import { HTTP_ONLY, listPages, pagePaths, post, readRows } from './routes.ts';
import { historyBytes, queueDue, seedEndpoints, seedFinished, seedRows, settleDown } from './seed.ts';
import { type Server, startServer } from './server.ts';

type Postgres = { pid: number };
type Database = Awaited<ReturnType<typeof createDatabase>>;
/** The measurements of one series at one size. */
export type Point = { x: number; series: string } & Record<string, number | string>;

const FILE = join(import.meta.dirname, 'growth.json');
const NOBODY = '0199b8a0-0000-7000-8000-00000000bec4';
/** The number of claims and settlements timed at each size, and the rows in each. */
const CLAIMS = 40;
const BATCH = 100;
const how: Load = { connections: 32, warmUpSeconds: 1, seconds: 2, rounds: 3 };

const measures: Record<string, (postgres: Postgres) => Promise<Point[]>> = {
  [NAME]: (postgres) =>
    overSizes(
      [1e4, 1e5, 1e6],
      (database, rows) => seedRows(database.name, rows),
      async (server, database, x) => [
        { x, series: READ, ...(await load(server, postgres, await readRows(database.name), how)) },
        { x, series: LIST, ...(await load(server, postgres, await listPages(server), how)) },
        { x, series: CREATE, ...(await load(server, postgres, post, how)) },
      ],
    ),

  pages: (postgres) =>
    overSizes(
      [1e5],
      (database, rows) => seedRows(database.name, rows),
      async (server) => {
        const paths = await pagePaths(server, 1000);
        const points: Point[] = [];
        for (const x of [1, 10, 100, 1000]) {
          const ask: Ask = { paths: [paths[x - 1] as string] };
          points.push({ x, series: LIST, ...(await load(server, postgres, ask, how)) });
        }
        return points;
      },
    ),

  finished: (postgres) =>
    overSizes(
      [1e4, 1e5, 1e6],
      (database, finished) => seedFinished(database.name, NOBODY, finished),
      async (server, database, x) => {
        const ask = (query: string): Ask => ({ paths: [`/api/v1/notifications?limit=20${query}`] });
        const points: Point[] = [
          { x, series: 'GET /notifications', ...(await load(server, postgres, ask(''), how)) },
          { x, series: 'GET /notifications?status=sent', ...(await load(server, postgres, ask('&status=sent'), how)) },
          { x, series: 'history', bytesEach: (await historyBytes(database.name)) / x },
        ];
        await queueDue(database.name, { [NOBODY]: CLAIMS * BATCH });
        await settleDown(database.name);
        const behind = await load(server, postgres, ask('&status=sent'), how);
        points.push({ x, series: `the same, behind ${CLAIMS * BATCH} that are due`, ...behind });
        points.push({ x, series: 'claim and settle', ...(await claimAndSettle(database, postgres, 'sent')) });
        return points;
      },
    ),

  due: async (postgres) => {
    const sizes = [1e2, 1e3, 1e4, 1e5, 1e6];
    const claims = await overSizes(
      sizes,
      async (database, due) => {
        await queueDue(database.name, { [NOBODY]: due });
        await settleDown(database.name);
      },
      async (_, database, x) => [{ x, series: 'claim', ...(await claimAndSettle(database, postgres, 'release')) }],
    );
    const drains: Point[] = [];
    for (const x of sizes.slice(1)) {
      const drain = await measureDrain({ postgres, due: x, wait: Math.min(x, 20_000), env: WIDE });
      drains.push({ x, series: 'drain', ...drain });
    }
    return [...claims, ...drains];
  },

  endpoints: (postgres) =>
    overSizes(
      [1, 10, 100, 1000, 10_000],
      async (database, endpoints) => {
        await seedEndpoints(database.name, EVENT, 1);
        if (endpoints > 1) await seedEndpoints(database.name, 'nothing.ever', endpoints - 1);
      },
      async (server, _, x) => [
        { x, series: `${CREATE}, one endpoint told`, ...(await load(server, postgres, post, how)) },
      ],
    ),

  told: (postgres) =>
    overSizes(
      [1, 10, 100],
      (database, endpoints) => seedEndpoints(database.name, EVENT, endpoints),
      async (server, _, x) => [
        { x, series: `${CREATE}, all endpoints told`, ...(await load(server, postgres, post, how)) },
      ],
    ),

  connections: (postgres) =>
    overSizes(
      [1e5],
      (database, rows) => seedRows(database.name, rows),
      async (server, database) => {
        const ask = await readRows(database.name);
        const points: Point[] = [];
        for (const connections of [1, 8, 32, 128, 512]) {
          const figures = await load(server, postgres, ask, { ...how, connections });
          points.push({ x: connections, series: READ, ...figures });
        }
        return points;
      },
    ),

  processes: async (postgres) => {
    const database = await createDatabase();
    const points: Point[] = [];
    try {
      await seedRows(database.name, 1e5);
      for (const x of [1, 2, 4]) {
        const server = await startServer(database.url, { ...HTTP_ONLY, PROCESSES: String(x) });
        const asks = { [READ]: await readRows(database.name), [CREATE]: post };
        for (const [series, ask] of Object.entries(asks)) {
          points.push({ x, series, ...(await load(server, postgres, ask, { ...how, connections: 64 })) });
        }
        await server.stop();
      }
      return points;
    } finally {
      await database.drop();
    }
  },
};

/** Measures at each size, on a separate database with a single-process server that dispatches nothing. */
async function overSizes(
  sizes: number[],
  seed: (database: Database, size: number) => Promise<void>,
  measure: (server: Server, database: Database, size: number) => Promise<Point[]>,
): Promise<Point[]> {
  const points: Point[] = [];
  for (const size of sizes) {
    const database = await createDatabase();
    try {
      await seed(database, size);
      const server = await startServer(database.url, { ...HTTP_ONLY, PROCESSES: '1' });
      try {
        points.push(...(await measure(server, database, size)));
      } finally {
        await server.stop();
      }
    } finally {
      await database.drop();
    }
  }
  return points;
}

/** Times the queue's own statements for batches of one endpoint's rows, which end as `outcome` says. */
async function claimAndSettle(database: Database, postgres: Postgres, outcome: 'sent' | 'release') {
  const open = openPostgres({ url: database.url, poolMax: 1, statementTimeoutMs: 30_000, log: silent });
  const queue = databaseQueue(open.db, { name: 'bench', leaseMs: 60_000, everyMs: 5000 });
  const request = {
    limit: BATCH,
    maxBytes: 1e9,
    rooms: { [NOBODY]: BATCH },
    slow: 0,
    unnamed: 0,
    after: FIRST_LANE,
    until: FIRST_LANE,
  };
  const claims: number[] = [];
  const settlements: number[] = [];
  let rows = 0;
  try {
    await queue.settle([], 0);
    const before = cpuMs(postgres.pid);
    for (let i = 0; i < CLAIMS; i++) {
      const start = performance.now();
      const { deliveries } = await queue.claim(request);
      const claimed = performance.now();
      const results = deliveries.map(
        ({ id, lease }): Settlement =>
          outcome === 'sent' ? { id, lease, outcome, durationMs: 3, status: 204 } : { id, lease, outcome },
      );
      await queue.settle(results, 0);
      claims.push(claimed - start);
      settlements.push(performance.now() - claimed);
      rows += deliveries.length;
    }
    return {
      rows,
      claimMs: round(median(claims), 2),
      settleMs: round(median(settlements), 2),
      postgresMs: round((cpuMs(postgres.pid) - before) / rows, 4),
    };
  } finally {
    await open.close();
  }
}

await measureInto(FILE, 'growth', measures, { load: how });
