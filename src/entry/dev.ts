import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';

/** Changes within this time count as one: editors write a file in several steps, and a checkout writes many files. */
const SETTLE_MS = 30;
/** How long a request or a delivery may delay a restart before it is aborted. */
const STOP_MS = 500;
/** Like `npm start`, without its memory limit. */
const SERVICE = ['--import', './src/entry/prepare.js', 'src/entry/node.ts'];

let over = false;
let wake = () => {};
let timer: NodeJS.Timeout | undefined;

function onChange(_: string, name: string | null): void {
  // Ignore temporary files of editors.
  if (!/(\.(tsx?|js|css|json|sql)|^\.env)$/.test(name ?? '')) return;
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
  // Ctrl-C signals both processes. The service ignores the copy that it gets from here.
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
    process.stderr.write('The service has stopped. It restarts when a file changes.\n');
    await woken;
  }
  if (!over) service.kill('SIGTERM');
  // A different second signal requests an immediate stop.
  const force = over ? undefined : setTimeout(() => service.kill('SIGINT'), STOP_MS);
  await exited;
  clearTimeout(force);
  process.off('SIGINT', pass).off('SIGTERM', pass);
}
process.exit();
