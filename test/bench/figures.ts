import { cpus, loadavg, totalmem } from 'node:os';
import { query } from '../support/postgres-server.ts';

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The smallest value that at least `share` of the values do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/** Milliseconds as the figures that are reported, to a tenth. */
export function spread(ms: readonly number[]): { p50: number; p99: number; max: number } {
  const at = (share: number) => round(quantile(ms, share), 1);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** Returns the median of every figure over rounds of the same measurement. */
export function medians<T extends Record<string, number>>(rounds: readonly T[], digits = 3): T {
  const names = Object.keys(rounds[0] ?? {}) as (keyof T)[];
  return Object.fromEntries(
    names.map((name) => [name, round(median(rounds.map((one) => one[name] as number)), digits)]),
  ) as T;
}

export type Conditions = {
  at: string;
  cpu: string;
  cores: number;
  memoryGib: number;
  load1: number;
  node: string;
  postgres: string;
};

/** Returns the conditions of a measurement. Queries the test server. */
export async function conditions(): Promise<Conditions> {
  const [row] = await query('postgres', 'show server_version');
  return {
    at: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    load1: round(loadavg()[0] as number, 2),
    node: process.version,
    postgres: String(row?.server_version),
  };
}
