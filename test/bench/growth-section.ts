// How cost grows, as Markdown and charts.
import { round } from './figures.ts';
import type { Point } from './growth.ts';
import { type Chart, markdownTable } from './markdown.ts';
import { NAME } from './measured.ts';
import { micros, percent, whole } from './tables.ts';

export type GrowthData = Record<string, Point[]>;

type Figure = { y: string; of: (point: Point) => number; logY?: boolean };
type Growth = { part: string; title: string; x: string; text: string; figures: Record<string, Figure> };

const cpu: Figure = {
  y: 'CPU for a request, µs',
  of: ({ serverMs, postgresMs }) => 1000 * (Number(serverMs) + Number(postgresMs)),
};
const perSecond: Figure = { y: 'requests/s', of: ({ perSecond }) => Number(perSecond) };

const GROWTHS: Growth[] = [
  {
    part: NAME,
    title: `${NAME[0]?.toUpperCase()}${NAME.slice(1)}`,
    x: NAME,
    text: 'Reads and writes use an index. A table ten times as large adds at most one level to it.',
    figures: { [NAME]: cpu },
  },
  {
    part: 'pages',
    title: 'Pages of a list',
    x: 'page',
    text: 'A cursor names the row to continue after, so no page reads the rows before it.',
    figures: { pages: cpu },
  },
  {
    part: 'finished',
    title: 'Finished notifications',
    x: 'finished notifications',
    text: 'The queue holds what is unfinished, and history has its own tables. Claims never read history. A list of sent notifications reads past newer ones that are still due.',
    figures: {
      'finished-lists': cpu,
      'finished-claims': { y: 'ms for a claim of 100', of: ({ claimMs }) => Number(claimMs) },
    },
  },
  {
    part: 'due',
    title: 'Due notifications',
    x: 'due notifications',
    text: 'A claim jumps from lane to lane in the index (lane, due) and reads the rows that it takes.',
    figures: {
      'due-claims': { y: 'ms for a claim of 100', of: ({ claimMs }) => Number(claimMs) },
      'due-drain': {
        y: 'deliveries/s',
        of: (point) => (point.series === 'drain' ? Number(point.perSecond) : Number.NaN),
      },
    },
  },
  {
    part: 'endpoints',
    title: 'Webhook endpoints that are told of something else',
    x: 'endpoints',
    text: 'A write uses an index on events to find the endpoints that are told.',
    figures: { endpoints: cpu },
  },
  {
    part: 'told',
    title: 'Webhook endpoints that are told',
    x: 'endpoints',
    text: 'Each endpoint that is told adds a notification and a row in the queue. This cost is the work itself.',
    figures: { told: { ...cpu, logY: true } },
  },
  {
    part: 'connections',
    title: 'Connections',
    x: 'connections',
    text: 'Each client sends its next request as soon as it has its response. This was measured before a process limited how many requests it begins at a time: since then, 512 clients cost two thirds of the CPU (DECISIONS.md).',
    figures: {
      connections: perSecond,
      'connections-p99': { y: 'p99, ms', of: ({ p99 }) => Number(p99), logY: true },
    },
  },
  {
    part: 'processes',
    title: 'Processes',
    x: 'PROCESSES',
    text: 'Processes behind one port share the machine with Postgres and with the clients.',
    figures: { processes: perSecond },
  },
];

/** Returns an overview table, then a chart and a table for each part. */
export function growthSection(data: GrowthData): { markdown: string; charts: Record<string, Chart> } {
  const known = GROWTHS.filter(({ part }) => data[part]?.length);
  const charts: Record<string, Chart> = {};
  const overview: string[][] = [];
  const sections = known.map(({ part, title, x, text, figures }) => {
    const points = data[part] as Point[];
    const pictures = Object.entries(figures).map(([name, { y, of, logY = false }]) => {
      const marks = points.flatMap((point) => {
        const value = of(point);
        return Number.isFinite(value) ? [{ x: point.x, y: value, series: point.series }] : [];
      });
      charts[name] = { kind: 'line', x, y, data: marks, logY };
      for (const series of new Set(marks.map((mark) => mark.series))) {
        const own = marks.filter((mark) => mark.series === series);
        const [first, last] = [own[0], own.at(-1)];
        if (!first || !last || first === last) continue;
        const times = `× ${(last.y / first.y).toFixed(2)}`;
        overview.push([
          `${x}: ${whole(first.x)} → ${whole(last.x)}`,
          `${series}, ${y}`,
          show(first.y),
          show(last.y),
          times,
        ]);
      }
      return `![${y} by ${x}](docs/performance/${name}.svg)`;
    });
    return [`### ${title}`, text, ...pictures, ...tablesOf(points, x)].join('\n\n');
  });
  const head = ['what grows', 'figure', 'first', 'last', 'factor'];
  return { markdown: [markdownTable(head, overview), ...sections].join('\n\n'), charts };
}

type Column = [title: string, name: string, show: (value: number) => string];

const COLUMNS: Column[] = [
  ['req/s', 'perSecond', whole],
  ['p50 ms', 'p50', (ms) => ms.toFixed(1)],
  ['p99 ms', 'p99', (ms) => ms.toFixed(1)],
  ['claim ms', 'claimMs', (ms) => ms.toFixed(2)],
  ['settle ms', 'settleMs', (ms) => ms.toFixed(2)],
  ['server CPU µs', 'serverMs', micros],
  ['Postgres CPU µs', 'postgresMs', micros],
  ['bytes of disk each', 'bytesEach', whole],
  ['others', 'other', percent],
];

/** One table for each group of series with the same figures. */
function tablesOf(points: Point[], x: string): string[] {
  const columnsOf = (point: Point) => COLUMNS.filter(([, name]) => point[name] !== undefined);
  const groups = Map.groupBy(points, (point) => columnsOf(point).join());
  return [...groups.values()].map((group) => {
    const columns = columnsOf(group[0] as Point).map(
      (column): Column =>
        // These are deliveries, not requests.
        column[1] === 'perSecond' && group[0]?.series === 'drain' ? ['deliveries/s', column[1], column[2]] : column,
    );
    const rows = group
      .toSorted((a, b) => a.series.localeCompare(b.series) || a.x - b.x)
      .map((point) => [point.series, whole(point.x), ...columns.map(([, name, show]) => show(Number(point[name])))]);
    return markdownTable(['', x, ...columns.map(([title]) => title)], rows);
  });
}

const show = (value: number) => (value < 100 ? String(round(value, 1)) : whole(value));
