import { progressOf } from '../../src/entry/progress.ts';

export type Part = { at: string; seconds: number } & ({ data: unknown } | { error: string });
type Work = (postgres: { pid: number }) => Promise<unknown>;

/** Runs each in turn, whatever became of those before it, and says so. */
export async function runParts(parts: Record<string, Work>, postgres: { pid: number }): Promise<Record<string, Part>> {
  const done: Record<string, Part> = {};
  const names = Object.keys(parts);
  const progress = progressOf('parts');
  for (const [i, name] of names.entries()) {
    const start = performance.now();
    const seconds = () => Math.round((performance.now() - start) / 1000);
    progress.tell(i, names.length, name);
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
  progress.tell(names.length, names.length);
  progress.end();
  return done;
}
