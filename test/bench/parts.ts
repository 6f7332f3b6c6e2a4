import { clearLine, cursorTo } from 'node:readline';

export type Part = { data: unknown; seconds: number } | { error: string; seconds: number };
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
    try {
      done[name] = { data: await (parts[name] as Work)(postgres), seconds: since(start) };
    } catch (error) {
      done[name] = { error: error instanceof Error ? error.message : String(error), seconds: since(start) };
      process.exitCode = 1;
    }
    clearInterval(timer);
    rewrite('');
    const { [name]: part } = done;
    const outcome = part && 'error' in part ? `FAILED: ${part.error}` : 'ok';
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
