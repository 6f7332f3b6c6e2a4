import { env, waitUntil } from 'cloudflare:workers';
import { app } from '../app.ts';
import type { Deps, Log } from '../deps.ts';
import { openNeon } from '../platform/db-neon.ts';
import { memoryLimiter } from '../platform/limiter-memory.ts';
import { type RateLimitBinding, workersLimiter } from '../platform/limiter-workers.ts';
import { createLog } from '../platform/log.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { createVerifier } from '../platform/verify-jwt.ts';
import { type Config, ConfigError, parseConfig } from './config.ts';

/** What wrangler.toml binds beside vars and secrets. */
type Bindings = {
  RATE_LIMITER?: RateLimitBinding;
  /** The dispatcher's Worker. */
  DISPATCHER?: { wake(): Promise<void> };
};

const bindings = env as Bindings;

// 1 Configuration: at module scope, so that a bad one fails the deployment and not the first request.
const config = readConfig(env as Record<string, unknown>);

// 2 Logger: the platform ends the lines itself.
const log = createLog(config.logLevel, (line) => console.log(line.trimEnd()));

// 3 Database: nothing is opened; each statement is a request of its own.
const { db } = openNeon({
  url: config.databaseUrl,
  fetchEndpoint: config.databaseFetchEndpoint,
  statementTimeoutMs: config.requestTimeoutMs,
});

// 4 Dependencies that outlive a request.
const { max, windowS } = config.rateLimit;
const deps: Omit<Deps, 'clientAddress' | 'wake'> = {
  settings: config,
  db,
  now: () => new Date(),
  secrets: createSecretBox(config.secretsKey),
  limiter: bindings.RATE_LIMITER ? workersLimiter(bindings.RATE_LIMITER, max, windowS) : memoryLimiter(max, windowS),
  verifier: createVerifier(config.jwt, log, waitUntil),
  log,
  metrics: { requestStarted() {}, requestFinished() {}, delivery() {}, dispatcherTick() {} },
  draining: () => false,
};

export default {
  fetch(request, _env, ctx) {
    const clientAddress = request.headers.get('cf-connecting-ip') ?? 'unknown';
    return app.fetch(request, { ...deps, clientAddress, wake: () => wake(bindings, ctx, log) }, ctx);
  },
} satisfies ExportedHandler;

// A lost ring costs one tick, so that it may fail the log alone.
function wake({ DISPATCHER }: Bindings, ctx: ExecutionContext, log: Log): void {
  if (!DISPATCHER) return;
  ctx.waitUntil(
    Promise.resolve()
      .then(() => DISPATCHER.wake())
      .catch((error) => log.warn('cannot wake the dispatcher', { error })),
  );
}

/** As on Node, and what a Worker needs besides. */
function readConfig(env: Record<string, unknown>): Config {
  const text = Object.entries(env)
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => [name, String(value)]);
  const variables = Object.fromEntries(text) as Record<string, string>;
  const problems: string[] = [];
  if (!variables.DATABASE_URL || variables.DATABASE_URL.startsWith('pglite:')) {
    problems.push('DATABASE_URL must start with postgres:// on Workers');
  }
  if (env.RATE_LIMITER && !['10', '60'].includes(variables.RATE_LIMIT_WINDOW_S ?? '60')) {
    problems.push('RATE_LIMIT_WINDOW_S must be the 10 or 60 of the rate-limit binding');
  }
  try {
    const config = parseConfig(variables);
    if (problems.length === 0) return config;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems.filter((problem) => !problem.startsWith('DATABASE_URL must be set')));
  }
  throw new ConfigError(problems);
}
