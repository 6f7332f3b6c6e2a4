import type { Drain } from './drain.ts';
import type { measureEdge } from './edge.ts';
import type { measureLatency } from './latency.ts';
import { NAME } from './measured.ts';
import type { Part } from './parts.ts';
import type { measureRoutes } from './routes.ts';
import type { measureStarts } from './starts.ts';
import type { countStatements } from './statements.ts';

/** What `npm run bench` measured, by part; a part that failed is absent. */
export type BenchData = Partial<{
  routes: Awaited<ReturnType<typeof measureRoutes>>;
  drain: Drain;
  wideDrain: Drain;
  latency: Awaited<ReturnType<typeof measureLatency>>;
  statements: Awaited<ReturnType<typeof countStatements>>;
  edge: Awaited<ReturnType<typeof measureEdge>>;
  starts: Awaited<ReturnType<typeof measureStarts>>;
}>;

type Cell = string | number;
export type Table = { title: string; head: string[]; rows: Cell[][] };

/** The data of the parts that did not fail. */
export function dataOf<T>(parts: Record<string, Part>): T {
  const done = Object.entries(parts).flatMap(([name, part]) => ('data' in part ? [[name, part.data]] : []));
  // JSON has null where a value was not a number.
  return JSON.parse(JSON.stringify(Object.fromEntries(done)), (_, value) => value ?? Number.NaN);
}

export function benchTables({ routes, drain, wideDrain, latency, statements, edge, starts }: BenchData): Table[] {
  const tables: Table[] = [];
  if (routes) {
    tables.push({
      title: `Requests among ${whole(routes.among)} ${NAME}, by the setting of PROCESSES`,
      head: ['route', 'processes', 'req/s', 'p50 ms', 'p99 ms', 'server CPU µs', 'Postgres CPU µs', 'MiB', 'others'],
      rows: routes.rows.map((row) => [
        row.route,
        settingOf(row),
        whole(row.perSecond),
        row.p50.toFixed(1),
        row.p99.toFixed(1),
        micros(row.serverMs),
        micros(row.postgresMs),
        whole(row.mib),
        percent(row.other),
      ]),
    });
  }
  const drains = { 'as set by default': drain, 'concurrency 400, batch 2000': wideDrain };
  tables.push({
    title: 'A backlog for ten endpoints that answer at once',
    head: ['dispatcher', 'deliveries', 'deliveries/s', 'server CPU µs', 'Postgres CPU µs'],
    rows: Object.entries(drains).flatMap(([name, measured]) => {
      if (!measured) return [];
      const { deliveries, perSecond, serverMs, postgresMs } = measured;
      return [[name, whole(deliveries), whole(perSecond), micros(serverMs), micros(postgresMs)]];
    }),
  });
  if (latency) {
    const { count, everyMs, ...waits } = latency;
    tables.push({
      title: `Milliseconds until a webhook is at its receiver; ${count} ${NAME} made, one every ${everyMs} ms`,
      head: ['counted from', 'p50', 'p99', 'max'],
      rows: Object.entries(waits).map(([from, { p50, p99, max }]) => [
        from,
        ...[p50, p99, max].map((ms) => ms.toFixed(1)),
      ]),
    });
  }
  tables.push({
    title: 'Starting',
    head: ['what', 'figure'],
    rows: [
      ...(edge
        ? [
            ['The bundle for Workers, minified and compressed', `${edge.bundleKib} KiB`],
            ['A cold start in workerd, to the first answer', `${edge.coldStartMs.toFixed(0)} ms`],
          ]
        : []),
      ...(starts ? [['A start on Node, to a 200 from /ready', `${starts.readyMs} ms`]] : []),
      ...(routes?.atRest ?? []).map(({ setting, mib }) => [
        `Memory at rest, PROCESSES=${setting}`,
        `${whole(mib)} MiB`,
      ]),
    ],
  });
  if (statements) {
    const alike = Map.groupBy(Object.entries(statements), ([, counts]) => `${counts.statements} ${counts.roundTrips}`);
    tables.push({
      title: 'What an operation sends to the database, on Node',
      head: ['operations', 'statements', 'round trips'],
      rows: [...alike.values()].map((group) => {
        const [[name, counts]] = group as [[string, { statements: number; roundTrips: number }]];
        const names =
          group.length > 4 ? `${group.length} operations, such as ${name}` : group.map(([own]) => own).join(', ');
        return [names, counts.statements, counts.roundTrips];
      }),
    });
  }
  return tables.filter(({ rows }) => rows.length > 0);
}

export function printBench(parts: Record<string, Part>): void {
  for (const { title, head, rows } of benchTables(dataOf(parts))) {
    console.log(`\n${title}`);
    console.log(textTable([head, ...rows.map((row) => row.map(String))]));
  }
}

function textTable(rows: string[][]): string {
  const widths = (rows[0] as string[]).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0));
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

/** The setting as given, and the resulting number of processes if it differs. */
function settingOf({ setting, processes }: { setting: string; processes: number }): string {
  return setting === String(processes) ? setting : `${setting} (${processes} in all)`;
}

export const whole = (value: number) => (Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : 'n/a');
export const micros = (ms: number) => whole(ms * 1000);
export const percent = (share: number) => (Number.isFinite(share) ? `${Math.round(share * 100)} %` : 'n/a');
