import { app } from '../app.ts';
import { createSignInLink } from '../console/sign-in-link.ts';
import { type Deps, type Log, noMetrics } from '../deps.ts';
import { checkWebhookUrl } from '../dispatcher/channels/address.ts';
import { queueDepth } from '../dispatcher/depth.ts';
import { pruneEvery } from '../dispatcher/housekeeping.ts';
import { scopesOf } from '../http/operation.ts';
import { loadedAssets } from '../platform/assets-loaded.ts';
import { bound } from '../platform/listen.ts';
import type { LogAt } from '../platform/log.ts';
import { type OpenTracing, runtimeTraces } from '../platform/open-tracing.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import type { CreateServer } from '../platform/server.ts';
import type { Signals } from '../platform/signals.ts';
import { createVerifier } from '../platform/verify-jwt.ts';
import type { Worker } from '../platform/worker.ts';
import { ASSETS } from './assets.ts';
import { type Config, parseConfig, warn } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { createLimiter } from './limiter.ts';
import { openDatabase, speaksNeon } from './open-database.ts';
import { printWelcome } from './welcome.ts';

const forever = new Promise<never>(() => {});
const PRUNE_EVERY_MS = 600_000;
/** A part that a stop closes, and the log message for that. */
type Closing = { name: string; close(): Promise<unknown> };
/** The time left before the shutdown deadline when deliveries are given up on, to settle them. */
const SETTLE_MARGIN_MS = 1000;

/**
 * Runs the service as a process on Node, Deno or Bun, which differ in `createServer`, and exits when it is over. A
 * `worker` leaves to the primary what exists once for all workers.
 */
export async function main(createServer: CreateServer, logAt: LogAt, signals: Signals, worker?: Worker): Promise<void> {
  // 1 Configuration: parsed once, before anything else.
  const config = parseConfig(withDevelopmentSecrets(process.env));

  // 2 Logger.
  const log = logAt(config.logLevel);
  if (!worker) warn(config, log);
  const exitEarly = (why: string) => {
    log.info('stopped before listening', { why });
    process.exit(0);
  };
  signals.setHandlers({ first: exitEarly, second: () => {} });

  // 3 Database: opened and checked before anything is served.
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const database = await openDatabase(config, secrets, log);
  const { db } = database;

  // 4 Dependencies.
  const tracing = await openTracing(config, log);
  const prometheus = config.metrics && (await import('../platform/metrics.ts')).createMetrics();
  const metrics = prometheus ?? noMetrics;
  const dispatcher = config.dispatchEnabled
    ? (await import('./dispatcher.ts')).openDispatcher(config, { db, log, metrics, secrets, tracing: tracing?.tracing })
    : undefined;
  // Neon over HTTP has no LISTEN, and a listening connection would keep it awake.
  const doorbell =
    config.databaseUrl.startsWith('postgres') && !speaksNeon(config)
      ? (await import('../platform/doorbell-postgres.ts')).postgresDoorbell(config.databaseUrl, log, dispatcher?.wake)
      : undefined;
  let draining = false;
  const deps: Omit<Deps, 'clientAddress'> = {
    settings: config,
    db,
    now: () => new Date(),
    limiter: createLimiter(config, db, log, worker),
    verifier: createVerifier(config.jwt, log),
    secrets,
    refuseWebhookUrl: async (url) => checkWebhookUrl(url, { allowPrivate: config.webhookAllowPrivate }),
    wake: (changed) => {
      dispatcher?.wake(changed);
      // One dispatcher is enough for new work; a changed endpoint concerns all of them.
      if (!dispatcher || draining || changed !== undefined) doorbell?.ring(changed);
    },
    assets: loadedAssets(ASSETS),
    developmentToken: config.production || !config.jwt.secret ? undefined : () => developmentToken(config.jwt),
    log,
    metrics,
    tracing: tracing?.tracing,
    inFlight: { count: 0 },
    draining: () => draining,
  };

  // 5 Server, with read and idle time-outs.
  const server = createServer({
    ...config,
    maxConnections: Math.ceil(config.maxConnections / (worker?.count ?? 1)),
    reusePort: worker !== undefined,
    policy: deps.limiter,
    log,
    fetch: (request, peer) => app.fetch(request, { ...deps, clientAddress: addressOf(request, peer, config) }),
  });

  // 6 Signals: the first asks for an orderly stop, the second for an immediate one. A worker leaves it to the primary.
  const exitNow = (why: string) => {
    log.error('stopped at once', { why });
    process.exit(1);
  };
  const second = worker ? () => {} : () => exitNow('second signal');
  const signaled = new Promise<string>((first) => signals.setHandlers({ first, second }));

  // 7 Background work: the dispatcher, pruning and the metrics server.
  const dispatching = dispatcher?.run() ?? forever;
  dispatching.catch(() => {});
  // Only one of several processes prunes.
  const endPruning = worker?.slot ? undefined : pruneEvery(PRUNE_EVERY_MS, { db, log }, config.retentionDays);
  const sources = {
    pool: database.stats,
    queue: () => queueDepth(db, AbortSignal.timeout(2000)),
    lastClaimAgeMs: dispatcher?.lastClaimAgeMs,
  };
  if (prometheus) worker?.onScrape((queue) => prometheus.snapshot(queue ? sources : { ...sources, queue: undefined }));
  const metricsServer =
    config.metrics && prometheus && !worker
      ? (await import('../platform/metrics-server.ts')).createMetricsServer({
          ...config.metrics,
          contentType: prometheus.contentType,
          expose: () => prometheus.expose(sources),
          log,
        })
      : undefined;

  // 8 Listen.
  let failure: unknown;
  try {
    if (metricsServer)
      log.info('metrics listening', { url: `${await bound(metricsServer.listen(), 'METRICS_ADDR')}/metrics` });
    const url = await bound(server.listen(), 'HOST or PORT');
    const signIn = await createSignInLink(deps, url).catch(() => undefined);
    log.info(worker ? 'worker listening' : 'listening', { url });
    const scopes = scopesOf(app.routes);
    if (worker) worker.listening({ url, scopes, signIn });
    else if (!config.production) await printWelcome(config, url, scopes, signIn);

    // 9 Wait for a signal, a dead server or a dead worker.
    const asked = Promise.race([signaled, worker?.orphaned ?? forever]);
    const why = await Promise.race([asked, server.broken, metricsServer?.broken ?? forever, dispatching]);
    log.info('stopping', { why });
  } catch (error) {
    failure = error;
    log.error('fatal', { error });
  }

  // 10 Orderly stop, with a log line per step. After its deadline, an immediate one.
  process.exitCode = failure ? 1 : 0;
  setTimeout(exitNow, config.shutdownTimeoutMs, 'SHUTDOWN_TIMEOUT_MS has passed').unref();
  const outOfTime = AbortSignal.timeout(Math.max(1, config.shutdownTimeoutMs - SETTLE_MARGIN_MS));
  draining = true;
  server.drain();
  log.info('not ready');
  if (!failure) await new Promise((resolve) => setTimeout(resolve, config.shutdownDelayMs));
  dispatcher?.stop(outOfTime);
  const failed = (error: unknown) => {
    if (error === failure) return;
    log.error('dispatcher failed', { error });
    process.exitCode = 1;
  };
  const closing: Closing[] = [{ name: 'requests finished, listener closed', close: server.close }];
  if (dispatcher) {
    // Other processes can claim what it released.
    const ringOthers = () => doorbell?.ring();
    const close = () => dispatching.catch(failed).then(dispatcher.close).then(ringOthers);
    closing.push({ name: 'dispatcher stopped', close });
  }
  if (endPruning) closing.push({ name: 'pruning ended', close: endPruning });
  if (doorbell) closing.push({ name: 'doorbell closed', close: doorbell.close });
  if (tracing) closing.push({ name: 'tracing ended', close: () => tracing.close(outOfTime) });
  if (metricsServer) closing.push({ name: 'metrics listener closed', close: metricsServer.close });
  closing.push({ name: 'database closed', close: database.close });
  for (const { name, close } of closing) {
    await close();
    log.info(name);
  }
  process.exit();
}

async function developmentToken(jwt: Config['jwt']): Promise<string> {
  return (await import('./sign-token.ts')).signToken(jwt, 'developer', scopesOf(app.routes));
}

/** Opens Deno's own tracing if OTEL_DENO=true, otherwise this service's if it is configured. */
async function openTracing({ traces }: Config, log: Log): Promise<OpenTracing | undefined> {
  if (runtimeTraces()) return (await import('../platform/tracing-runtime.ts')).runtimeTracing();
  return traces && (await import('../platform/tracing-otlp.ts')).otlpTracing(traces, log, { timer: true });
}

function addressOf(request: Request, peer: string, { trustProxy }: Config): string {
  // The trusted proxy appended the last entry.
  const forwarded = trustProxy ? request.headers.get('x-forwarded-for')?.split(',').at(-1)?.trim() : undefined;
  return forwarded || peer;
}
