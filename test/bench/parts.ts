import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { progressOf } from '../../src/entry/progress.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { conditions } from './figures.ts';

export type Part = { at: string; seconds: number } & ({ data: unknown } | { error: string });
type Work = (postgres: { pid: number }) => Promise<unknown>;

/** Runs each part in turn, even if an earlier one failed, and reports progress. */
export async function runParts(parts: Record<string, Work>, postgres: { pid: number }): Promise<Record<string, Part>> {
  const done: Record<string, Part> = {};
  const names = Object.keys(parts);
  const progress = progressOf('parts');
  for (const [i, name] of names.entries()) {
    const start = performance.now();
    const seconds = () => Math.round((performance.now() - start) / 1000);
    progress.report(i, names.length, name);
    const at = new Date().toISOString();
    let outcome = 'ok';
    try {
      const data = await (parts[name] as Work)(postgres);
      done[name] = { at, seconds: seconds(), data };
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown.message : String(thrown);
      done[name] = { at, seconds: seconds(), error };
      outcome = `FAILED: ${error}`;
      process.exitCode = 1;
    }
    progress.print(`${i + 1}/${names.length} ${name}: ${outcome} (${seconds()} s)`);
  }
  progress.report(names.length, names.length);
  progress.end();
  return done;
}

/**
 * Runs the parts that the command line names, or all of them, on a separate Postgres, and writes `file`. It keeps the
 * parts that were not named.
 */
export async function measureInto(
  file: string,
  kind: string,
  measures: Record<string, Work>,
  more: object = {},
): Promise<Record<string, Part>> {
  const asked = process.argv.slice(2);
  const unknown = asked.filter((name) => !(name in measures));
  if (unknown.length > 0)
    throw new Error(`no such part: ${unknown.join(', ')}; there are ${Object.keys(measures).join(', ')}`);
  const kept = asked.length > 0 && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).parts : {};
  const chosen = Object.entries(measures).filter(([name]) => asked.length === 0 || asked.includes(name));
  const postgres = await startPostgres({ durable: true });
  try {
    const parts = { ...kept, ...(await runParts(Object.fromEntries(chosen), postgres)) };
    writeFileSync(file, `${JSON.stringify({ kind, ...(await conditions()), ...more, parts }, null, 1)}\n`);
    console.log(`\nwritten: ${file}`);
    return parts;
  } finally {
    await postgres.stop();
  }
}
