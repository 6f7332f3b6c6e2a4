import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';

/** An editor writes a file in several steps, and a branch is many files: what comes within this time is one change. */
const SETTLE_MS = 30;
/** How long a request or a delivery may hold up a restart; then it is cut short. */
const STOP_MS = 500;
/** What `npm start` runs. */
const SERVICE = ['--import', './src/entry/prepare.js', 'src/entry/node.ts'];

let over = false;
let wake = () => {};
let timer: NodeJS.Timeout | undefined;

function onChange(_: string, name: string | null): void {
  // Not what editors leave beside a file for a moment.
  if (!/(\.(ts|js|json|sql)|^\.env)$/.test(name ?? '')) return;
  clearTimeout(timer);
  timer = setTimeout(() => wake(), SETTLE_MS);
}
for (const folder of ['src', 'drizzle']) watch(folder, { recursive: true }, onChange);
watch('.', (event, name) => name === '.env' && onChange(event, name));

while (!over) {
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const service = spawn(process.execPath, SERVICE, { stdio: 'inherit' });
  // The service tells the copy of a signal, which Ctrl-C sends to both of them, from a second one.
  const pass = (signal: NodeJS.Signals) => {
    over = true;
    service.kill(signal);
    wake();
  };
  process.on('SIGINT', pass).on('SIGTERM', pass);
  const exited = once(service, 'exit').then(([code]) => {
    process.exitCode = code ?? 1;
  });

  await Promise.race([woken, exited]);
  if (service.exitCode !== null && !over) {
    process.stderr.write('The service has ended. It starts again when a file changes.\n');
    await woken;
  }
  if (!over) service.kill('SIGTERM');
  // Another signal than the first asks for an immediate stop.
  const force = over ? undefined : setTimeout(() => service.kill('SIGINT'), STOP_MS);
  await exited;
  clearTimeout(force);
  process.off('SIGINT', pass).off('SIGTERM', pass);
}
process.exit();
