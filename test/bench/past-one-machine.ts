// The arithmetic of "Past one machine": the values of the template's placeholders.
import type { GrowthData } from './growth-section.ts';
import { CREATE, LIST, READ } from './measured.ts';
import type { BenchData } from './tables.ts';
import { percent } from './tables.ts';

const TIMES = 100;
/** Shares of the requests, and the share of cores in use. */
const WRITES = 0.05;
const MIX = { [READ]: 0.8, [LIST]: 0.15, [CREATE]: WRITES };
const IN_USE = 0.5;
/** A creation notifies one person by email and one endpoint by webhook. */
const DELIVERIES_PER_POST = 2;

// Deliveries per second of one object to receivers that take 100 ms, and the most objects allowed (README, config.ts).
const OBJECT_PER_SECOND = 50;
const OBJECTS = 100;

// As published in November 2026. A compute unit is a core, its memory and its share of the network.
const LARGEST_COMPUTE = 56;
const MAX_CONNECTIONS = 4000;
const PRICES = { requests: 0.3e-6, cpuMs: 0.02e-6, rings: 0.15e-6, computeHour: 0.222, gbMonth: 0.35 };
const MACHINE_PER_MONTH = 100;

const MONTH_S = 730 * 3600;
const RETENTION_DAYS = 30;
const DAY_S = 86_400;

/** Returns the text for every placeholder; `n/a` where a figure it needs was not measured. */
export function pastOneMachine(cores: number, bench: BenchData, growth: GrowthData): Record<string, string> {
  const costs = Object.entries(MIX).map(([route, share]) => {
    const rows = bench.routes?.rows.filter((row) => row.route === route) ?? [];
    const row = rows.at(-1) ?? { serverMs: Number.NaN, postgresMs: Number.NaN };
    return { isRead: route.startsWith('GET'), server: share * row.serverMs, postgres: share * row.postgresMs };
  });
  const serverMs = sum(costs.map(({ server }) => server));
  const postgresMs = sum(costs.map(({ postgres }) => postgres));
  const readMs = sum(costs.filter(({ isRead }) => isRead).map(({ postgres }) => postgres));

  const perMachine = (cores * IN_USE * 1000) / (serverMs + postgresMs);
  const total = TIMES * perMachine;
  const posts = total * WRITES;
  const deliveries = posts * DELIVERIES_PER_POST;
  const objects = deliveries / OBJECT_PER_SECOND;
  const postgresCores = (total * postgresMs) / 1000;
  const computeUnits = postgresCores / IN_USE;
  const alone = growth.connections?.find(({ x }) => x === 1);
  const statementMs = Number(alone?.p50 ?? Number.NaN);
  const connections = (total * statementMs) / 1000;
  const bytesEach = Number(
    growth.finished?.findLast((point) => point.bytesEach !== undefined)?.bytesEach ?? Number.NaN,
  );
  const rowsPerDay = deliveries * DAY_S;
  const historyGb = (rowsPerDay * RETENTION_DAYS * bytesEach) / 1e9;
  const perMonth = (each: number) => total * MONTH_S * each;

  return {
    mix: Object.entries(MIX)
      .map(([route, share]) => `${percent(share)} ${route}`)
      .join(', '),
    perMachine: about(perMachine),
    total: about(total),
    posts: about(posts),
    deliveries: about(deliveries),
    objects: about(objects),
    objectsAt: about((TIMES * OBJECTS) / objects),
    nodeRate: about(bench.wideDrain?.perSecond ?? Number.NaN),
    nodeProcesses: about(Math.ceil(deliveries / (bench.wideDrain?.perSecond ?? Number.NaN))),
    rowsPerDay: about(rowsPerDay),
    bytesEach: about(bytesEach),
    historyTb: about(historyGb / 1000),
    postgresCores: about(postgresCores),
    writeCores: about((total * (postgresMs - readMs)) / 1000),
    readShare: percent(readMs / postgresMs),
    computeUnits: about(computeUnits),
    computeAt: about((TIMES * LARGEST_COMPUTE) / computeUnits),
    statementMs: about(statementMs),
    connections: about(connections),
    connectionsAt: about((TIMES * MAX_CONNECTIONS) / connections),
    workersRequests: about(perMonth(PRICES.requests)),
    workersCpu: about(perMonth(serverMs * PRICES.cpuMs)),
    rings: about(perMonth(WRITES * PRICES.rings)),
    neonCompute: about(computeUnits * 730 * PRICES.computeHour),
    neonStorage: about(historyGb * PRICES.gbMonth),
    breakEven: about(MACHINE_PER_MONTH / (MONTH_S * PRICES.requests)),
  };
}

/** Rounds to two digits, as precise as this arithmetic is. */
function about(value: number): string {
  if (!Number.isFinite(value)) return 'n/a';
  const two = Number(value.toPrecision(2));
  if (two >= 1e9) return `${two / 1e9} billion`;
  if (two >= 1e6) return `${two / 1e6} million`;
  return two.toLocaleString('en-US');
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
