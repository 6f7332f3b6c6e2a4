// npm run bench:report [-- --http F --dispatch F --bench F --growth F --isolation F]: PERFORMANCE.md and its charts.
// Files that are given are copied to docs/performance/ first; the others are read from there.
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { svgOf } from './charts.ts';
import type { Conditions } from './figures.ts';
import { type GrowthData, growthSection } from './growth-section.ts';
import { type IsolationData, isolationTable } from './isolation-section.ts';
import { type Chart, formatMarkdown, markdownTable } from './markdown.ts';
import type { Part } from './parts.ts';
import { pastOneMachine } from './past-one-machine.ts';
import { dispatchSection, httpSection, type PeersDispatch, type PeersHttp } from './peers.ts';
import { type BenchData, benchTables, dataOf } from './tables.ts';

const ROOT = join(import.meta.dirname, '../..');
const FOLDER = join(ROOT, 'docs/performance');
const TEMPLATE = join(import.meta.dirname, 'performance.md');
const SOURCES = ['http', 'dispatch', 'bench', 'growth', 'isolation'] as const;

type Source = (typeof SOURCES)[number];
type Ours = Conditions & { load?: { connections: number }; parts: Record<string, Part> };
type Section = { markdown: string; charts: Record<string, Chart> };

/** Returns the page and its charts by name, from the data in docs/performance/. */
export async function report(): Promise<{ markdown: string; svgs: Record<string, string> }> {
  const http = read<PeersHttp>('http');
  const dispatch = read<PeersDispatch>('dispatch');
  const bench = read<Ours>('bench');
  const growth = read<Ours>('growth');
  const isolation = read<Ours>('isolation');
  const benchData = bench && dataOf<BenchData>(bench.parts);
  const growthData = growth && dataOf<GrowthData>(growth.parts);
  const sections: Record<string, Section> = {
    http: http ? httpSection(http) : missing('the harness of the peers'),
    dispatch: dispatch ? dispatchSection(dispatch) : missing('the harness of the peers'),
    bench: benchData ? { markdown: benchMarkdown(benchData), charts: {} } : missing('npm run bench'),
    growth: growthData ? growthSection(growthData) : missing('npm run bench:growth'),
    isolation: isolation
      ? { markdown: isolationTable(dataOf<IsolationData>(isolation.parts)), charts: {} }
      : missing('npm run bench:isolation'),
  };
  const texts: Record<string, string> = {
    ...Object.fromEntries(Object.entries(sections).map(([name, { markdown }]) => [name, markdown])),
    benchConditions: bench ? conditionsOf(bench) : 'not measured',
    growthConditions: growth ? conditionsOf(growth) : 'not measured',
    isolationConditions: isolation ? conditionsOf(isolation) : 'not measured',
    ...pastOneMachine(bench?.cores ?? Number.NaN, benchData ?? {}, growthData ?? {}),
  };
  const markdown = readFileSync(TEMPLATE, 'utf8').replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => {
    const text = texts[name];
    if (text === undefined) throw new Error(`the template asks for ${name}, which nobody makes`);
    return text;
  });
  const charts = Object.values(sections).flatMap((section) => Object.entries(section.charts));
  const svgs: Record<string, string> = {};
  for (const [name, chart] of charts) svgs[name] = await svgOf(chart);
  return { markdown: formatMarkdown(markdown), svgs };
}

function benchMarkdown(data: BenchData): string {
  return benchTables(data)
    .map(({ title, head, rows }) => `${title}:\n\n${markdownTable(head, rows)}`)
    .join('\n\n');
}

const missing = (by: string): Section => ({ markdown: `Not measured yet, by ${by}.`, charts: {} });

function conditionsOf({ cores, cpu, memoryGib, node, postgres, load, parts }: Ours): string {
  const machine = `${cores} cores (${cpu}, ${memoryGib} GiB) that the service, Postgres, clients and receivers share`;
  const clients = load ? `; ${load.connections} connections where it does not say otherwise` : '';
  // A part may have been measured again since.
  const days = [...new Set(Object.values(parts).map(({ at }) => at.slice(0, 10)))].toSorted().join(' and ');
  return `${machine}${clients}; Node ${node.slice(1)}, PostgreSQL ${postgres} that syncs to disk; ${days}`;
}

const pathOf = (source: Source) => join(FOLDER, `${source}.json`);

function read<T>(source: Source): T | undefined {
  return existsSync(pathOf(source)) ? JSON.parse(readFileSync(pathOf(source), 'utf8')) : undefined;
}

if (import.meta.main) {
  const option = { type: 'string' } as const;
  const { values } = parseArgs({ options: Object.fromEntries(SOURCES.map((source) => [source, option])) });
  mkdirSync(FOLDER, { recursive: true });
  for (const source of SOURCES) {
    const given = values[source];
    if (given) writeFileSync(pathOf(source), `${JSON.stringify(JSON.parse(readFileSync(given, 'utf8')), null, 1)}\n`);
  }
  const { markdown, svgs } = await report();
  for (const old of globSync('*.svg', { cwd: FOLDER })) rmSync(join(FOLDER, old));
  for (const [name, svg] of Object.entries(svgs)) writeFileSync(join(FOLDER, `${name}.svg`), svg);
  writeFileSync(join(ROOT, 'PERFORMANCE.md'), markdown);
  console.log(`written: PERFORMANCE.md and ${Object.keys(svgs).length} charts in docs/performance`);
}
