import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { median } from '../bench/figures.ts';
import { formatMarkdown, markdownTable } from '../bench/markdown.ts';
import type { Fault } from './fault.ts';
import { FAULTS } from './faults.ts';
import { PER_SECOND, type Row, worst } from './strike.ts';

const ROOT = join(import.meta.dirname, '../..');
const PAGE = join(ROOT, 'RELIABILITY.md');
const DATA = join(ROOT, 'docs/reliability.json');
const TEMPLATE = join(import.meta.dirname, 'reliability.md');

const READY: Record<Fault['ready'], string> = { stays: '200', turns: '503', any: 'either' };

/** Faults that cannot be tried on this machine. */
export type Skipped = { title: string; why: string };
export type Run = {
  rows: Row[];
  skipped: Skipped[];
  seed: number;
  holdMs: number;
  minutes: number;
  conditions: string;
};

/** The conditions under which a run is measured. */
export const conditions = () =>
  `on ${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;

/** Returns the run that RELIABILITY.md describes. */
export const lastRun = (): Run => JSON.parse(readFileSync(DATA, 'utf8'));

/** Writes RELIABILITY.md and the data that it is made from. */
export function writeReliability(run: Run): void {
  writeFileSync(DATA, `${JSON.stringify(run, undefined, 1)}\n`);
  writeFileSync(PAGE, reliabilityOf(run));
}

/** Returns a run with the rows of `some` in place of its own, and marks them. */
export function withRows(run: Run, some: Row[]): Run {
  const anew = new Map(some.map((row) => [titleOf(row), { ...row, again: true }]));
  return { ...run, rows: run.rows.map((row) => anew.get(titleOf(row)) ?? row) };
}

export const titleOf = ({ kind, name }: Pick<Row, 'kind' | 'name'>) => `${kind}: ${name}`;

/** Returns the text of RELIABILITY.md, from the template beside this file. */
export function reliabilityOf(run: Run): string {
  const texts: Record<string, string> = {
    summary: summaryOf(run),
    conditions: run.conditions,
    seed: String(run.seed),
    hold: String(run.holdMs / 1000),
    perSecond: String(PER_SECOND),
    table: tableOf(run.rows),
    again: run.rows.some(({ again }) => again) ? '¹ Struck again by itself, after the full run.' : '',
    skipped: run.skipped.map(({ title, why }) => `Not tried on this machine: ${title} (${why}).`).join('\n\n'),
  };
  const text = readFileSync(TEMPLATE, 'utf8').replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => texts[name] as string);
  return formatMarkdown(text);
}

function summaryOf({ rows, minutes }: Run): string {
  const of = (pick: (row: Row) => number) => rows.reduce((sum, row) => sum + pick(row), 0);
  const figures = [
    `${rows.length} kinds of fault and attack, ${of(({ times }) => times)} strikes`,
    `${of(({ accepted }) => accepted).toLocaleString('en')} accepted writes`,
    `${of(({ lost }) => lost.length)} lost`,
    `${of(({ untrue }) => untrue.length)} untrue`,
    `recovery at worst ${seconds(Math.max(...rows.map(worst)))}`,
  ];
  return `**${figures.join('; ')}.** The run took ${Math.round(minutes)} minutes.`;
}

function tableOf(rows: Row[]): string {
  const readyOf = new Map(FAULTS.map((fault) => [titleOf(fault), READY[fault.ready]]));
  const head = [
    ...['', 'fault', '`/ready`', 'times', 'accepted', 'refused', 'lost', 'repeated', 'untrue'],
    ...['recovery p50', 'worst', '`/health` p99', 'memory, MiB'],
  ];
  const cells = rows.map((row) => [
    row.kind,
    row.again ? `${row.name} ¹` : row.name,
    readyOf.get(titleOf(row)) ?? '',
    ...[row.times, row.accepted, row.refused, row.lost.length, row.repeated, row.untrue.length],
    ...[seconds(median(row.recoveries)), seconds(worst(row)), `${Math.round(row.healthP99Ms)} ms`],
    row.memoryMib.map(Math.round).join(' → '),
  ]);
  return markdownTable(head, cells);
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
