import type { Log } from '../deps.ts';
import { createLog, type LogLevel } from '../platform/log.ts';
import type { CreateServer } from '../platform/server.ts';
import { hearSignals } from '../platform/signals.ts';
import { stdoutLines } from '../platform/stdout.ts';
import { thisWorker } from '../platform/worker.ts';
import { readDotenv } from './dotenv.ts';
import type { Fork } from './primary.ts';

type Runtime = {
  createServer: () => Promise<CreateServer>;
  /** How another process of this entry is started, with this environment. */
  fork: () => Promise<Fork>;
  /** Called first where this process is one of those. */
  join?: () => Promise<void>;
};

/** The process's logger, before and after its level is known. */
export type LogAt = (level: LogLevel) => Log;

/** The service as one process, or as the first of several, which watches the others: ends the process when it is over. */
export async function start({ createServer, fork, join }: Runtime): Promise<void> {
  // Before all else is loaded: as a container's first process a signal would be lost.
  const signals = hearSignals();
  const worker = thisWorker();
  // What the primary read, a worker was given.
  if (!worker) readDotenv();
  const isFirst = !worker && !['', '1'].includes(process.env.PROCESSES ?? '');
  const writeLine = stdoutLines({ shared: worker !== undefined || isFirst });
  const logAt: LogAt = (level) => createLog(level, writeLine, worker && { pid: process.pid });
  try {
    if (worker) await join?.();
    if (isFirst) {
      const { primary } = await import('./primary.ts');
      if (await primary(await fork(), logAt, signals)) return;
    }
    const [{ main }, create] = await Promise.all([import('./main.ts'), createServer()]);
    await main(create, logAt, signals, worker);
  } catch (error) {
    const { ConfigError } = await import('./config.ts');
    const problems = error instanceof ConfigError ? { problems: error.problems } : { error };
    logAt('info').error('cannot start', problems);
    process.exit(1);
  }
}
