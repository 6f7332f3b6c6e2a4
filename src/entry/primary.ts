import type { ChildProcess } from 'node:child_process';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import type { Log } from '../deps.ts';
import { bound, listen, portOf } from '../platform/listen.ts';
import type { LogAt } from '../platform/log.ts';
import { createMetricsServer } from '../platform/metrics-server.ts';
import { superviseWorkers } from '../platform/processes.ts';
import type { Signals } from '../platform/signals.ts';
import { type Listening, workerVariable } from '../platform/worker.ts';
import { type Config, parseConfig, warn } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';

type Env = Record<string, string | undefined>;
export type Fork = (env: Env) => ChildProcess;

const forever = new Promise<never>(() => {});
/** Milliseconds that a scrape waits for a worker, which itself waits two seconds for the database. */
const SCRAPE_MS = 3000;

/** Runs the primary, which starts workers and serves no requests. Returns false if one process is enough. */
export async function primary(fork: Fork, logAt: LogAt, signals: Signals): Promise<boolean> {
  // 1 Configuration: parsed once. The workers get the same variables, generated secrets included.
  const env = withDevelopmentSecrets(process.env);
  const config = parseConfig(env);

  // 2 Logger.
  const log = logAt(config.logLevel);
  const count = processesOf(config, log);
  if (count === 1) return false;
  warn(config, log);

  // 3 Workers, and their metrics.
  const sum = config.metrics && (await import('../platform/metrics-sum.ts')).createMetricsSum();
  let port = config.port;
  const processes = superviseWorkers({
    count,
    fork: (slot) => fork({ ...env, PORT: String(port), ...workerVariable(slot, count) }),
    log,
    onDeath: (pid) => sum?.died(pid),
  });

  // 4 Signals: the first one asks for an orderly stop, the second for an immediate one.
  const exitNow = (why: string) => {
    log.error('stopped at once', { why });
    processes.kill();
    process.exit(1);
  };
  const signaled = new Promise<string>((first) =>
    signals.setHandlers({ first, second: () => exitNow('second signal') }),
  );

  // 5 The metrics server.
  const expose = async () => sum?.expose(await processes.scrape(SCRAPE_MS)) ?? '';
  const metricsServer =
    config.metrics && sum && createMetricsServer({ ...config.metrics, contentType: sum.contentType, expose, log });

  // 6 Listen.
  let failure: unknown;
  try {
    if (metricsServer)
      log.info('metrics listening', { url: `${await bound(metricsServer.listen(), 'METRICS_ADDR')}/metrics` });
    port = await freePort(config);
    processes.start();
    const failed = processes.listening.then((where) => welcome(config, where, count, log));

    // 7 Wait for a signal, a dead server, or workers that cannot be replaced.
    const why = await Promise.race([signaled, failed, metricsServer?.broken ?? forever, processes.broken]);
    log.info('stopping', { why });
  } catch (error) {
    failure = error;
    log.error('fatal', { error });
  }

  // 8 Orderly stop. After its deadline, an immediate one.
  setTimeout(exitNow, config.shutdownTimeoutMs, 'SHUTDOWN_TIMEOUT_MS has passed').unref();
  const clean = await processes.stop();
  log.info('workers stopped');
  await metricsServer?.close();
  log.info('metrics listener closed');
  process.exit(failure || !clean ? 1 : 0);
}

async function welcome(config: Config, { url, scopes, signIn }: Listening, count: number, log: Log): Promise<never> {
  log.info('listening', { url, processes: count });
  if (!config.production) await (await import('./welcome.ts')).printWelcome(config, url, scopes, signIn);
  return forever;
}

function processesOf({ processes, databaseUrl }: Config, log: Log): number {
  if (processes !== 'auto') return processes;
  if (!databaseUrl.startsWith('pglite:')) return availableParallelism();
  log.info('one process', { why: 'only one process can open the embedded database' });
  return 1;
}

/** Returns the port that the workers share. Rejects if it is taken, which a worker would not notice. */
async function freePort({ host, port }: Config): Promise<number> {
  const server = createServer();
  const url = await bound(listen(server, host, port), 'HOST or PORT');
  await new Promise((resolve) => server.close(resolve));
  return portOf(url);
}
