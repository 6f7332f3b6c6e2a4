import { clearLine, cursorTo } from 'node:readline';

export type Part = { at: string; seconds: number } & ({ data: unknown } | { error: string });
type Work = (postgres: { pid: number }) => Promise<unknown>;

/** Runs each in turn, whatever became of those before it, and says so: on a terminal in one line that moves on. */
export async function runParts(parts: Record<string, Work>, postgres: { pid: number }): Promise<Record<string, Part>> {
  const done: Record<string, Part> = {};
  const names = Object.keys(parts);
  const began = performance.now();
  for (const [i, name] of names.entries()) {
    const start = performance.now();
    const since = (from: number) => Math.round((performance.now() - from) / 1000);
    const draw = () => rewrite(`${i + 1}/${names.length} ${name} … ${since(start)} s, ${since(began)} s in all`);
    draw();
    const timer = setInterval(draw, 1000);
    const at = new Date().toISOString();
    let outcome = 'ok';
    try {
      const data = await (parts[name] as Work)(postgres);
      done[name] = { at, seconds: since(start), data };
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown.message : String(thrown);
      done[name] = { at, seconds: since(start), error };
      outcome = `FAILED: ${error}`;
      process.exitCode = 1;
    }
    clearInterval(timer);
    rewrite('');
    console.log(`${i + 1}/${names.length} ${name}: ${outcome} (${since(start)} s)`);
  }
  return done;
}

function rewrite(text: string): void {
  if (!process.stdout.isTTY) return;
  clearLine(process.stdout, 0);
  cursorTo(process.stdout, 0);
  process.stdout.write(text);
}
