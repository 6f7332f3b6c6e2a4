import { createLog, type LogAt } from '../platform/log.ts';
import { writeFormatted } from '../platform/log-format.ts';
import type { CreateServer } from '../platform/server.ts';
import { handleSignals } from '../platform/signals.ts';
import { stdoutLines } from '../platform/stdout.ts';
import { thisWorker } from '../platform/worker.ts';
import { readDotenv } from './dotenv.ts';
import type { Fork } from './primary.ts';

type Runtime = {
  createServer: () => Promise<CreateServer>;
  /** Starts another process of this entry with this environment. */
  fork: () => Promise<Fork>;
  /** Called first in a worker. */
  join?: () => Promise<void>;
};

/** Runs the service in one process, or the primary of several. Exits when it is over. */
export async function start({ createServer, fork, join }: Runtime): Promise<void> {
  // Before anything else is loaded: a container's first process (PID 1) ignores signals that it does not handle.
  const signals = handleSignals();
  const worker = thisWorker();
  // A worker was given what the primary read.
  if (!worker) readDotenv();
  const mayBePrimary = !worker && !['', '1'].includes(process.env.PROCESSES ?? '');
  const stdout = stdoutLines(worker !== undefined || mayBePrimary);
  // Before the configuration is checked, because its errors are log lines, too.
  const writeLine = await writeFormatted(stdout, process.env.LOG_FORMAT);
  const logAt: LogAt = (level) => createLog(level, writeLine, worker && { pid: process.pid });
  try {
    if (worker) await join?.();
    if (mayBePrimary) {
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
