import * as z from 'zod/mini';
import type { Log } from '../deps.ts';
import { nearest } from './nearest.ts';

/** The service's whole configuration; times are in milliseconds unless the name says otherwise. */
export type Config = ReturnType<typeof shape> & {
  /** Probable mistakes, by variable name and without values. */
  warnings: string[];
  /** Settings that are allowed, but probably not intended. */
  advice: string[];
};

type Env = Record<string, string | undefined>;

/** All problems of a configuration, by variable name, without values. */
export class ConfigError extends Error {
  readonly problems: string[];

  constructor(problems: string[]) {
    super(problems.join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

const whole = (min: number, max: number) =>
  z
    .pipe(z.string().check(z.regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`)), z.transform(Number))
    .check(z.refine((n) => n >= min && n <= max, `must be a whole number from ${min} to ${max}`));

const flag = z.pipe(
  z.enum(['true', 'false'], 'must be true or false'),
  z.transform((value) => value === 'true'),
);
const oneOf = <const T extends readonly string[]>(values: T) => z.enum(values, `must be one of ${values.join(', ')}`);
const url = (...protocols: string[]) =>
  z.string().check(
    z.refine(
      (value) => URL.canParse(value) && protocols.includes(new URL(value).protocol),
      `must be a URL that starts with ${protocols.map((p) => `${p}//`).join(' or ')}`,
    ),
    // fetch refuses credentials in URLs, with a message that quotes them.
    z.refine(
      (value) => !URL.canParse(value) || new URL(value).username + new URL(value).password === '',
      'must not contain a user name or password',
    ),
  );
/** Items separated by commas. */
const list = (isItem: (item: string) => boolean, message: string) =>
  z
    .pipe(
      z.string(),
      z.transform((value: string) => value.split(',').map((item) => item.trim())),
    )
    .check(z.refine((items) => items.every(isItem), message));

const HOUR = 3_600_000;
/** Milliseconds by which a lease outlasts a delivery at least: how long the answer to a claim may take. */
const LEASE_MARGIN_MS = 1000;
const EMBEDDED = 'pglite:.data/db';

/** The prefix of generated development secrets, by which production refuses them. */
export const DEVELOPMENT_SECRET = 'development-';
/** The same for generated sealing keys (32 bytes in base64). */
export const DEVELOPMENT_KEY = 'DEVELOPMENTONLYx';

/** The message if the keys open none of the sealed secrets in the database. */
export const NO_KEY_OPENS =
  'SECRETS_KEY opens no webhook secret in the database: add the key that does to SECRETS_KEYS_OLD';

const SEALING_KEY = /^[A-Za-z0-9+/]{43}=$/;

const PROCESSES_MAX = 64;
const isProcesses = (value: string) =>
  value === 'auto' || (/^\d{1,2}$/.test(value) && Number(value) >= 1 && Number(value) <= PROCESSES_MAX);

const SAMPLER = ['always_on', 'always_off', 'traceidratio'] as const;
const SAMPLERS = [...SAMPLER, ...SAMPLER.map((name) => `parentbased_${name}` as const)] as const;
const RATIO = 'must be a number from 0 to 1';

/** Parses a header of OTEL_EXPORTER_OTLP_HEADERS. Returns undefined if it is invalid. */
function headerOf(pair: string): { name: string; value: string } | undefined {
  const at = pair.indexOf('=');
  const name = pair.slice(0, Math.max(0, at)).trim();
  try {
    const value = decodeURIComponent(pair.slice(at + 1).trim());
    return /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\x21-\x7e][\x20-\x7e]*$/.test(value) ? { name, value } : undefined;
  } catch {
    return undefined;
  }
}

/** Every variable by its name; npm run env:example writes their comments and defaults to .env.example. */
export const variables = {
  // development or production. Production refuses development secrets, and requires DATABASE_URL.
  APP_ENV: z._default(oneOf(['development', 'production']), 'development'),
  // The address and port to listen on.
  HOST: z._default(z.string().check(z.minLength(1)), '127.0.0.1'),
  PORT: z._default(whole(0, 65535), 8787),
  // host:port of /metrics, or off.
  METRICS_ADDR: z._default(
    z.string().check(
      z.regex(/^(off|(\[[0-9a-fA-F:]+\]|[^:[\]]*):\d{1,5})$/, 'must be host:port or off'),
      z.refine((value) => value === 'off' || address(value).port <= 65_535, 'must be host:port or off'),
    ),
    '127.0.0.1:9090',
  ),
  // debug, info, warn or error.
  LOG_LEVEL: z._default(oneOf(['debug', 'info', 'warn', 'error']), 'info'),
  // Log lines: json, pretty (for people), or auto: pretty on a terminal, otherwise json.
  LOG_FORMAT: z._default(oneOf(['auto', 'json', 'pretty']), 'auto'),
  // pglite:<directory> for the embedded database (in development, pglite:.data/db), or postgres://…
  DATABASE_URL: z.optional(
    z.string().check(
      z.regex(/^(pglite:.+|postgres(ql)?:\/\/.+)$/s, 'must start with postgres:// or pglite:'),
      z.refine((value) => value.startsWith('pglite:') || URL.canParse(value), 'must be a valid URL'),
    ),
  ),
  // Connections to Postgres, for each process.
  DATABASE_POOL_MAX: z._default(whole(1, 1000), 10),
  // Processes behind the one port: a number, or auto for one per core. More than 1 needs postgres://.
  PROCESSES: z._default(
    z.pipe(
      z.string().check(z.refine(isProcesses, `must be auto, or a whole number from 1 to ${PROCESSES_MAX}`)),
      z.transform((value: string) => (value === 'auto' ? ('auto' as const) : Number(value))),
    ),
    1,
  ),
  // Maximum number of client connections; further ones are refused. Node only.
  MAX_CONNECTIONS: z._default(whole(1, 1_000_000), 10_000),
  // A proxy that speaks Neon's HTTP protocol, in place of Neon's own.
  DATABASE_FETCH_ENDPOINT: z.optional(url('http:', 'https:')),
  // How tokens are checked: a secret of at least 32 bytes (HS256), or the URL of a key set (RS256, ES256, EdDSA). They
  // need the claims sub and scope (space-separated).
  // In development a secret is generated and kept in .data/.
  JWT_SECRET: z.optional(
    z.string().check(z.refine((value) => new TextEncoder().encode(value).length >= 32, 'must have at least 32 bytes')),
  ),
  JWKS_URL: z.optional(url('http:', 'https:')),
  // Checked only if set.
  JWT_ISSUER: z.optional(z.string()),
  JWT_AUDIENCE: z.optional(z.string()),
  // Milliseconds until a request is answered 504, until its headers and body must have arrived, and until an idle
  // connection is closed.
  REQUEST_TIMEOUT_MS: z._default(whole(1, HOUR), 5000),
  READ_TIMEOUT_MS: z._default(whole(1, HOUR), 10_000),
  IDLE_TIMEOUT_MS: z._default(whole(1, HOUR), 60_000),
  // Milliseconds until a stop is forced, longer than REQUEST_TIMEOUT_MS; and from not being ready to no longer
  // listening.
  SHUTDOWN_TIMEOUT_MS: z._default(whole(1, HOUR), 15_000),
  SHUTDOWN_DELAY_MS: z._default(whole(0, HOUR), 0),
  // Bytes of a request's body.
  BODY_LIMIT_BYTES: z._default(whole(1, 100 * 1024 * 1024), 65_536),
  // Requests in a window of so many seconds, per subject and, without a token, per client address; counted in memory,
  // or in postgres for several instances.
  RATE_LIMIT_MAX: z._default(whole(1, 1_000_000_000), 600),
  RATE_LIMIT_WINDOW_S: z._default(whole(1, 86_400), 60),
  RATE_LIMIT_STORE: z._default(oneOf(['memory', 'postgres']), 'memory'),
  // Whether this process delivers notifications: true or false.
  DISPATCH_ENABLED: z._default(flag, true),
  // Milliseconds between claims if nothing rings; deliveries per claim; concurrent deliveries (default 16, on Workers
  // 5), besides twice as many slow ones on Node, Deno and Bun.
  DISPATCH_INTERVAL_MS: z._default(whole(10, HOUR), 5000),
  DISPATCH_BATCH: z._default(whole(1, 10_000), 100),
  DISPATCH_CONCURRENCY: z.optional(whole(1, 1000)),
  // Workers: subrequests of one run (50 on the Free plan), and Durable Objects that deliver side by side.
  DISPATCH_SUBREQUESTS: z._default(whole(10, 10_000), 50),
  DISPATCHERS: z._default(whole(1, 100), 1),
  // Milliseconds that a lease lasts, longer than DELIVERY_TIMEOUT_MS (by at least a second, or it is made that long);
  // attempts until a notification is dead; milliseconds of one attempt.
  DISPATCH_LEASE_MS: z._default(whole(100, HOUR), 60_000),
  DISPATCH_MAX_ATTEMPTS: z._default(whole(1, 100), 10),
  DELIVERY_TIMEOUT_MS: z._default(whole(1, HOUR), 15_000),
  // Whether webhooks may reach loopback and private addresses: true (in development) or false.
  WEBHOOK_ALLOW_PRIVATE: z.optional(flag),
  // Days that finished notifications, and the record of actions, are kept.
  RETENTION_DAYS: z._default(whole(1, 36_500), 30),
  // What webhook secrets are sealed with: openssl rand -base64 32. Earlier ones go into SECRETS_KEYS_OLD, separated by
  // commas. In development a key is generated and kept in .data/.
  SECRETS_KEY: z.optional(z.string().check(z.regex(SEALING_KEY, 'must be 32 bytes in base64'))),
  SECRETS_KEYS_OLD: z._default(
    list((key) => SEALING_KEY.test(key), 'must be 32 bytes in base64; separate several by commas'),
    [],
  ),
  // Whether the client's address is the last one in X-Forwarded-For: true or false.
  TRUST_PROXY: z._default(flag, false),
  // Origins that browsers may call from, separated by commas; or *.
  CORS_ORIGINS: z._default(
    list(
      (origin) => origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin),
      'must be origins such as https://app.example.com, separated by commas',
    ),
    [],
  ),
  // Where traces are sent (OTLP over HTTP, JSON), without /v1/traces; unset, nowhere.
  OTEL_EXPORTER_OTLP_ENDPOINT: z.optional(url('http:', 'https:')),
  // Headers that the collector asks for: name=value, separated by commas, values percent-encoded.
  OTEL_EXPORTER_OTLP_HEADERS: z._default(
    z.pipe(
      list((pair) => headerOf(pair) !== undefined, 'must be name=value; separate several by commas'),
      z.transform((pairs: string[]) => pairs.flatMap((pair) => headerOf(pair) ?? [])),
    ),
    [],
  ),
  // The name of the service in traces.
  OTEL_SERVICE_NAME: z._default(z.string().check(z.maxLength(255, 'must have at most 255 characters')), 'keelson'),
  // Which traces are recorded: always_on, always_off or traceidratio, with the ratio from 0 to 1 in _ARG. With
  // the prefix parentbased_, only for requests whose traceparent does not decide.
  OTEL_TRACES_SAMPLER: z._default(oneOf(SAMPLERS), 'parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: z._default(
    z
      .pipe(z.string().check(z.regex(/^\d{1,9}(\.\d{1,17})?$/, RATIO)), z.transform(Number))
      .check(z.refine((ratio) => ratio <= 1, RATIO)),
    1,
  ),
  // log, or resend, which needs the address of the sender and a key.
  EMAIL_PROVIDER: z._default(oneOf(['log', 'resend']), 'log'),
  EMAIL_FROM: z.optional(z.string()),
  RESEND_API_KEY: z.optional(z.string()),
  RESEND_URL: z._default(url('http:', 'https:'), 'https://api.resend.com'),
};

type Variables = { [K in keyof typeof variables]: z.output<(typeof variables)[K]> };
type Partly = Partial<Variables>;

/** Rules between variables. A rule is checked only if its variables are valid. */
const rules: [name: keyof Variables, message: string, broken: (v: Partly) => boolean][] = [
  [
    'SHUTDOWN_TIMEOUT_MS',
    'must be longer than REQUEST_TIMEOUT_MS',
    (v) => (v.SHUTDOWN_TIMEOUT_MS ?? Number.POSITIVE_INFINITY) <= (v.REQUEST_TIMEOUT_MS ?? 0),
  ],
  [
    'SHUTDOWN_TIMEOUT_MS',
    'must be longer than SHUTDOWN_DELAY_MS and REQUEST_TIMEOUT_MS together',
    (v) =>
      (v.SHUTDOWN_DELAY_MS ?? 0) > 0 &&
      (v.SHUTDOWN_TIMEOUT_MS ?? Number.POSITIVE_INFINITY) <= (v.SHUTDOWN_DELAY_MS ?? 0) + (v.REQUEST_TIMEOUT_MS ?? 0),
  ],
  [
    'DISPATCH_LEASE_MS',
    'must be longer than DELIVERY_TIMEOUT_MS',
    (v) => (v.DISPATCH_LEASE_MS ?? Number.POSITIVE_INFINITY) <= (v.DELIVERY_TIMEOUT_MS ?? 0),
  ],
  [
    'PROCESSES',
    'must be 1 with the embedded database, which only one process can open',
    (v) => typeof v.PROCESSES === 'number' && v.PROCESSES > 1 && isEmbedded(v),
  ],
  ['DATABASE_URL', 'must be set in production', (v) => isProduction(v) && v.DATABASE_URL === undefined],
  ['SECRETS_KEY', 'must be set', (v) => v.SECRETS_KEY === undefined],
  [
    'SECRETS_KEY',
    'is a development key, which is not allowed in production',
    (v) => isProduction(v) && (v.SECRETS_KEY?.startsWith(DEVELOPMENT_KEY) ?? false),
  ],
  [
    'SECRETS_KEYS_OLD',
    'contains a development key, which is not allowed in production',
    (v) => isProduction(v) && (v.SECRETS_KEYS_OLD ?? []).some((key) => key.startsWith(DEVELOPMENT_KEY)),
  ],
  [
    'JWT_SECRET',
    'or JWKS_URL must be set',
    (v) => v.JWT_SECRET === undefined && 'JWKS_URL' in v && v.JWKS_URL === undefined,
  ],
  [
    'JWKS_URL',
    'and JWT_SECRET must not both be set',
    // A secret that is invalid is set, too.
    (v) => v.JWKS_URL !== undefined && !('JWT_SECRET' in v && v.JWT_SECRET === undefined),
  ],
  [
    'JWT_SECRET',
    'is a development secret, which is not allowed in production',
    (v) => isProduction(v) && (v.JWT_SECRET?.startsWith(DEVELOPMENT_SECRET) ?? false),
  ],
  [
    'WEBHOOK_ALLOW_PRIVATE',
    'must not be true in production',
    (v) => isProduction(v) && v.WEBHOOK_ALLOW_PRIVATE === true,
  ],
  [
    'RESEND_API_KEY',
    'must be set for EMAIL_PROVIDER=resend',
    (v) => v.EMAIL_PROVIDER === 'resend' && !v.RESEND_API_KEY,
  ],
  ['EMAIL_FROM', 'must be set for EMAIL_PROVIDER=resend', (v) => v.EMAIL_PROVIDER === 'resend' && !v.EMAIL_FROM],
];

/** False if DATABASE_URL is invalid, or missing in production, which has a message of its own. */
const isEmbedded = (v: Partly) =>
  'DATABASE_URL' in v && (v.DATABASE_URL ?? (isProduction(v) ? '' : EMBEDDED)).startsWith('pglite:');
const isProduction = (v: Partly) => v.APP_ENV === 'production';

/** Settings that are allowed, but probably not intended. Commands do not report them. */
const ADVICE: [message: string, applies: (v: Variables) => boolean][] = [
  [
    'JWKS_URL without JWT_AUDIENCE accepts tokens that were issued for other services',
    (v) => isProduction(v) && v.JWKS_URL !== undefined && v.JWT_AUDIENCE === undefined,
  ],
  [
    'JWKS_URL without TLS: whoever is on the way can replace the keys',
    (v) => isProduction(v) && (v.JWKS_URL?.startsWith('http:') ?? false),
  ],
  [
    'EMAIL_PROVIDER=log sends no email, and records each as sent',
    (v) => isProduction(v) && v.DISPATCH_ENABLED && v.EMAIL_PROVIDER === 'log',
  ],
];

/** Returns probable mistakes, by variable name and never with a value. */
function warningsIn(env: Env): string[] {
  const warnings: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    const meant = value && !Object.hasOwn(variables, name) && nearest(name, Object.keys(variables));
    if (meant) warnings.push(`${name} is set and unknown: did you mean ${meant}?`);
  }
  if (env.NODE_ENV === 'production' && !env.APP_ENV) {
    warnings.push('NODE_ENV=production has no effect without APP_ENV=production');
  }
  return warnings;
}

/** Logs the warnings of parseConfig. */
export function warn({ warnings, advice }: Config, log: Log): void {
  const all = [...warnings, ...advice];
  if (all.length > 0) log.warn('check the configuration', { warnings: all });
}

/** Reads and checks everything at once; an empty variable counts as unset. Throws ConfigError. */
export function parseConfig(env: Env): Config {
  const warnings = warningsIn(env);
  const problems: string[] = [];
  const failed = new Set<string>();
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(variables)) {
    const result = schema.safeParse(env[name] === '' ? undefined : env[name]);
    if (result.success) values[name] = result.data;
    else {
      failed.add(name);
      problems.push(`${name} ${result.error.issues[0]?.message ?? 'is not valid'}`);
    }
  }
  for (const [name, message, broken] of rules) {
    if (!failed.has(name) && broken(values)) problems.push(`${name} ${message}`);
  }
  if (problems.length > 0) throw new ConfigError([...problems, ...warnings]);
  const valid = values as Variables;
  const advice = ADVICE.filter(([, applies]) => applies(valid)).map(([message]) => message);
  return { ...shape(valid), warnings, advice };
}

function shape(v: Variables) {
  return {
    production: isProduction(v),
    host: v.HOST,
    port: v.PORT,
    metrics: v.METRICS_ADDR === 'off' ? undefined : address(v.METRICS_ADDR),
    logLevel: v.LOG_LEVEL,
    logFormat: v.LOG_FORMAT,
    databaseUrl: v.DATABASE_URL ?? EMBEDDED,
    databasePoolMax: v.DATABASE_POOL_MAX,
    processes: v.PROCESSES,
    maxConnections: v.MAX_CONNECTIONS,
    databaseFetchEndpoint: v.DATABASE_FETCH_ENDPOINT,
    jwt: { secret: v.JWT_SECRET, jwksUrl: v.JWKS_URL, issuer: v.JWT_ISSUER, audience: v.JWT_AUDIENCE },
    requestTimeoutMs: v.REQUEST_TIMEOUT_MS,
    readTimeoutMs: v.READ_TIMEOUT_MS,
    idleTimeoutMs: v.IDLE_TIMEOUT_MS,
    shutdownTimeoutMs: v.SHUTDOWN_TIMEOUT_MS,
    shutdownDelayMs: v.SHUTDOWN_DELAY_MS,
    bodyLimitBytes: v.BODY_LIMIT_BYTES,
    rateLimit: { max: v.RATE_LIMIT_MAX, windowS: v.RATE_LIMIT_WINDOW_S, store: v.RATE_LIMIT_STORE },
    dispatchEnabled: v.DISPATCH_ENABLED,
    dispatch: {
      intervalMs: v.DISPATCH_INTERVAL_MS,
      batch: v.DISPATCH_BATCH,
      concurrency: v.DISPATCH_CONCURRENCY ?? 16,
      leaseMs: Math.max(v.DISPATCH_LEASE_MS, v.DELIVERY_TIMEOUT_MS + LEASE_MARGIN_MS),
      maxAttempts: v.DISPATCH_MAX_ATTEMPTS,
      deliveryTimeoutMs: v.DELIVERY_TIMEOUT_MS,
    },
    subrequests: v.DISPATCH_SUBREQUESTS,
    dispatchers: v.DISPATCHERS,
    webhookAllowPrivate: v.WEBHOOK_ALLOW_PRIVATE ?? !isProduction(v),
    retentionDays: v.RETENTION_DAYS,
    secretsKey: v.SECRETS_KEY ?? '',
    secretsKeysOld: v.SECRETS_KEYS_OLD,
    trustProxy: v.TRUST_PROXY,
    corsOrigins: v.CORS_ORIGINS,
    traces: v.OTEL_EXPORTER_OTLP_ENDPOINT === undefined ? undefined : tracesOf(v, v.OTEL_EXPORTER_OTLP_ENDPOINT),
    email: { provider: v.EMAIL_PROVIDER, from: v.EMAIL_FROM, resendApiKey: v.RESEND_API_KEY, resendUrl: v.RESEND_URL },
  };
}

function tracesOf(v: Variables, endpoint: string) {
  return {
    endpoint,
    headers: Object.fromEntries(v.OTEL_EXPORTER_OTLP_HEADERS.map(({ name, value }) => [name, value])),
    serviceName: v.OTEL_SERVICE_NAME,
    sampler: v.OTEL_TRACES_SAMPLER.replace('parentbased_', '') as (typeof SAMPLER)[number],
    parentBased: v.OTEL_TRACES_SAMPLER.startsWith('parentbased_'),
    ratio: v.OTEL_TRACES_SAMPLER_ARG,
  };
}

function address(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, '') || '0.0.0.0', port: Number(text.slice(colon + 1)) };
}
