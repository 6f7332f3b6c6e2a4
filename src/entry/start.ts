import type { CreateServer } from '../platform/server.ts';
import { hearSignals } from '../platform/signals.ts';
import { thisWorker } from '../platform/worker.ts';
import type { Fork } from './primary.ts';

type Runtime = {
  createServer: () => Promise<CreateServer>;
  /** How another process of this entry is started, with this environment. */
  fork: () => Promise<Fork>;
  /** Called first where this process is one of those. */
  join?: () => Promise<void>;
};

/** The service as one process, or as the first of several, which watches the others: ends the process when it is over. */
export async function start({ createServer, fork, join }: Runtime): Promise<void> {
  // Before all else is loaded: as a container's first process a signal would be lost.
  const signals = hearSignals();
  const worker = thisWorker();
  if (worker) await join?.();
  else if (!['', '1'].includes(process.env.PROCESSES ?? '')) {
    const { primary } = await import('./primary.ts');
    if (await primary(await fork(), signals)) return;
  }
  const [{ main }, create] = await Promise.all([import('./main.ts'), createServer()]);
  await main(create, signals, worker);
}
