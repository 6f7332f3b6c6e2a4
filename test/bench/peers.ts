// The peers' harness's measurements of services and dispatchers, side by side, as Markdown and charts.
import { median } from './figures.ts';
import { type Chart, markdownTable } from './markdown.ts';
import { NAME } from './measured.ts';
import { micros, whole } from './tables.ts';

const OURS = 'keelson';
/** The same with PROCESSES=auto. */
const ALL_CORES = 'keelson-all-cores';

type Common = {
  at: string;
  machine: { cpu: string; cores: number; memoryGb: number };
  versions: { node: string; go: string; postgres: string; packages: Record<string, string> };
};
type HttpRound = { rps: number; p99: number; serverMs: number; pgMs: number; rssMb: number };
export type PeersHttp = Common & {
  options: { rounds: number; seconds: number; connections: number; rows: number };
  results: Record<string, Record<string, HttpRound[]>>;
};
type DrainRound = { jobsPerS: number; workerS: number; pgS: number; cpuS: number; rssMb: number };
type TrickleRound = { p50: number; p99: number };
export type PeersDispatch = Common & {
  options: { jobs: number; rounds: number; latencyJobs: number; every: number; doneRows: number; payloadBytes: number };
  results: Record<string, { throughput: DrainRound[]; latency: TrickleRound[] }>;
};
type Section = { markdown: string; charts: Record<string, Chart> };

const ROUTES = { get: 'GET', list: 'list', post: 'POST' };

export function httpSection(peers: PeersHttp): Section {
  const { options, results } = peers;
  const names = Object.keys(results);
  const routes = Object.keys(ROUTES).filter((route) => results[OURS]?.[route]);
  const rounds = (name: string, route: string) => results[name]?.[route] ?? [];
  const middle = (name: string, route: string, of: (round: HttpRound) => number) => median(rounds(name, route).map(of));
  const cpu = ({ serverMs, pgMs }: HttpRound) => serverMs + pgMs;

  const columns = (of: (round: HttpRound) => number, show: (value: number) => string) =>
    names.map((name) => [
      name,
      ...routes.flatMap((route) => [
        show(middle(name, route, of)),
        timesAs(rounds(OURS, route), rounds(name, route), of),
      ]),
    ]);
  const head = (unit: string) => ['', ...routes.flatMap((route) => [`${title(route)} ${unit}`, 'ours ÷ it'])];
  const allCores = markdownTable(
    ['', ...routes.map(title)],
    names
      .filter((name) => name !== ALL_CORES)
      .map((name) => [
        name,
        ...routes.map((route) => timesAs(rounds(ALL_CORES, route), rounds(name, route), ({ rps }) => rps)),
      ]),
  );
  const memory = names.map((name) => [
    name,
    ...routes.map((route) => middle(name, route, ({ p99 }) => p99).toFixed(1)),
    whole(Math.max(...routes.map((route) => middle(name, route, ({ rssMb }) => rssMb)))),
  ]);

  const markdown = [
    `${options.connections} connections on ${machineOf(peers)}; ${whole(options.rows)} ${NAME}; ${options.rounds} rounds of ${options.seconds} s, each service in turn; ${versionsOf(peers)}; ${dayOf(peers.at)}. Medians. A ratio is taken within a round, against what ran beside it.`,
    'Requests per second. Above 1, this service answers more:',
    markdownTable(
      head('req/s'),
      columns(({ rps }) => rps, whole),
    ),
    ...(results[ALL_CORES] ? ['Requests per second of `keelson-all-cores` ÷ it:', allCores] : []),
    'CPU for a request in µs, the service and Postgres together. Below 1, this service uses less:',
    markdownTable(head('µs'), columns(cpu, micros)),
    '![CPU for a request, by service](docs/performance/peers.svg)',
    'The 99th percentile of latencies in ms, and the most memory that the processes had in MiB:',
    markdownTable(['', ...routes.map((route) => `${title(route)} p99`), 'MiB'], memory),
  ].join('\n\n');

  const data = routes.flatMap((route) =>
    names.flatMap((name) => [
      { facet: title(route), x: name, series: 'service', y: middle(name, route, ({ serverMs }) => serverMs) * 1000 },
      { facet: title(route), x: name, series: 'Postgres', y: middle(name, route, ({ pgMs }) => pgMs) * 1000 },
    ]),
  );
  return { markdown, charts: { peers: { kind: 'bars', y: 'CPU for a request, µs', data } } };
}

export function dispatchSection(peers: PeersDispatch): Section {
  const { options, results } = peers;
  const names = Object.keys(results).filter((name) => results[name]?.throughput.length);
  const drains = (name: string) => results[name]?.throughput ?? [];
  const middle = (name: string, of: (round: DrainRound) => number) => median(drains(name).map(of));
  const perJob = (seconds: number) => (seconds * 1e6) / options.jobs;
  const waited = names.some((name) => results[name]?.latency.length);
  const rows = names.map((name) => {
    const waits = results[name]?.latency ?? [];
    const wait = (of: (round: TrickleRound) => number) =>
      waits.length > 0 ? median(waits.map(of)).toFixed(1) : 'not measured';
    return [
      name,
      whole(middle(name, ({ jobsPerS }) => jobsPerS)),
      timesAs(drains(OURS), drains(name), ({ jobsPerS }) => jobsPerS),
      whole(perJob(middle(name, ({ cpuS }) => cpuS))),
      timesAs(drains(OURS), drains(name), ({ cpuS }) => cpuS),
      ...(waited ? [wait(({ p50 }) => p50), wait(({ p99 }) => p99)] : []),
      whole(middle(name, ({ rssMb }) => rssMb)),
    ];
  });
  const waitHead = waited ? ['wait p50 ms', 'wait p99 ms'] : [];
  const head = ['', 'jobs/s', 'ours ÷ it', 'CPU µs per job', 'ours ÷ it', ...waitHead, 'MiB'];
  const waitText = ` The wait is from before the call that enqueues until the job is at the receiver, one job every ${options.every} ms beside ${whole(options.doneRows)} finished ones.`;
  const data = names.flatMap((name) => [
    { x: name, series: 'worker', y: perJob(middle(name, ({ workerS }) => workerS)) },
    { x: name, series: 'Postgres', y: perJob(middle(name, ({ pgS }) => pgS)) },
  ]);
  const markdown = [
    `${whole(options.jobs)} jobs of ${options.payloadBytes} bytes, posted to a receiver that answers at once, on ${machineOf(peers)}; ${options.rounds} rounds; ${versionsOf(peers)}; ${dayOf(peers.at)}.${waited ? waitText : ''}`,
    markdownTable(head, rows),
    '![CPU for a job, by dispatcher](docs/performance/dispatchers.svg)',
  ].join('\n\n');
  return { markdown, charts: { dispatchers: { kind: 'bars', y: 'CPU for a job, µs', data } } };
}

const title = (route: string) => ROUTES[route as keyof typeof ROUTES] ?? route;

/** The median over rounds of ours divided by theirs. */
function timesAs<T>(ours: T[], theirs: T[], of: (round: T) => number): string {
  if (ours === theirs) return '–';
  const both = ours.slice(0, theirs.length);
  const ratio = median(both.map((round, i) => of(round) / of(theirs[i] as T)));
  return Number.isFinite(ratio) ? ratio.toFixed(2) : 'n/a';
}

const machineOf = ({ machine }: Common) => `${machine.cores} cores (${machine.cpu}, ${machine.memoryGb} GB)`;
const dayOf = (at: string) => at.slice(0, 10);

function versionsOf({ versions }: Common): string {
  const go = /go[\d.]+/.exec(versions.go)?.[0].replace('go', 'Go ') ?? '';
  const postgres = /\d+\.\d+/.exec(versions.postgres)?.[0];
  return [`Node ${versions.node.slice(1)}`, go, `PostgreSQL ${postgres}`].filter(Boolean).join(', ');
}
