import { type Config, ConfigError, parseConfig } from './config.ts';

/** A Worker is never stopped: these must not constrain other variables. */
const NO_SHUTDOWN = { SHUTDOWN_TIMEOUT_MS: '3600000', SHUTDOWN_DELAY_MS: '0' };
/** Workers allow six connections at a time. One of them is for the database. */
const MAX_CONCURRENCY = 5;

/** Parses a Worker's configuration from its bindings: those that are text are variables. */
export function workersConfig(env: Record<string, unknown>): Config {
  // The dispatcher is another Worker, with a configuration of its own.
  const variables: Record<string, string> = { ...textOf(env), ...NO_SHUTDOWN, DISPATCH_ENABLED: 'false' };
  const problems: string[] = [];
  if (env.RATE_LIMITER && !['10', '60'].includes(variables.RATE_LIMIT_WINDOW_S ?? '60')) {
    problems.push('RATE_LIMIT_WINDOW_S must be 10 or 60, as in the rate-limit binding');
  }
  const config = read(variables, problems);
  const unbound = BINDINGS.filter(([name]) => !env[name]).map(([name, so]) => `${name} is not bound: ${so}`);
  const store = config.rateLimit.store === 'postgres' ? ['RATE_LIMIT_STORE has no effect on Workers'] : [];
  return { ...config, advice: [...config.advice, ...unbound, ...store] };
}

/** wrangler.toml's bindings, and what a missing one means. */
const BINDINGS = [
  ['ASSETS', 'there are no pages'],
  ['DISPATCHER', 'notifications wait for the cron trigger'],
  ['RATE_LIMITER', 'requests are counted by isolate'],
] as const;

/** Parses the configuration of the dispatcher's Worker, with the limits of one invocation. */
export function dispatcherConfig(env: Record<string, unknown>): Config {
  // It checks no tokens, so it has no key for them.
  const unused = { JWT_SECRET: undefined, JWKS_URL: 'https://unused.invalid/', JWT_AUDIENCE: 'unused' };
  const variables = { DISPATCH_CONCURRENCY: String(MAX_CONCURRENCY), ...textOf(env), ...NO_SHUTDOWN, ...unused };
  const problems: string[] = [];
  if (Number(variables.DISPATCH_CONCURRENCY) > MAX_CONCURRENCY) {
    problems.push(`DISPATCH_CONCURRENCY must be at most ${MAX_CONCURRENCY} on Workers`);
  }
  const config = read(variables, problems);
  if (config.dispatchers < config.subrequests) return config;
  throw new ConfigError(['DISPATCHERS must be less than DISPATCH_SUBREQUESTS: the cron trigger rings each of them']);
}

/** The Worker's variables; an empty one is unset. */
function textOf(env: Record<string, unknown>): Record<string, string> {
  const text = Object.entries(env)
    .filter(([, value]) => value !== '' && ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => [name, String(value)]);
  return Object.fromEntries(text) as Record<string, string>;
}

function read(variables: Record<string, string | undefined>, problems: string[]): Config {
  if (!variables.DATABASE_URL || variables.DATABASE_URL.startsWith('pglite:')) {
    problems.push('DATABASE_URL must start with postgres:// on Workers');
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
