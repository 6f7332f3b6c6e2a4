import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError, DEVELOPMENT_KEY, DEVELOPMENT_SECRET, parseConfig } from '../../src/entry/config.ts';
import { dispatcherConfig, workersConfig } from '../../src/entry/workers-config.ts';

type Env = Record<string, string | undefined>;

const JWT_SECRET = 'x'.repeat(32);
const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
const needed = { JWT_SECRET, SECRETS_KEY };
const production = { ...needed, APP_ENV: 'production', DATABASE_URL: 'postgres://app@db/app' };

const email = { EMAIL_PROVIDER: 'resend', EMAIL_FROM: 'a@example.com', RESEND_API_KEY: 'key' };
const bindings = { ASSETS: {}, DISPATCHER: {}, RATE_LIMITER: {} };

const parse = (env: Env = {}) => parseConfig({ ...needed, ...env });

function problemsOf(env: Env): string[] {
  try {
    parseConfig({ ...needed, ...env });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, error.problems.join('\n'));
    return error.problems;
  }
  return [];
}

/** Returns the names of the variables that have a problem. */
const refusedIn = (env: Env) => problemsOf(env).map((problem) => problem.split(' ')[0]);

test('what is not set has the default that is documented', () => {
  const config = parse();
  assert.partialDeepStrictEqual(config, {
    production: false,
    host: '127.0.0.1',
    port: 8787,
    metrics: { host: '127.0.0.1', port: 9090 },
    logLevel: 'info',
    databaseUrl: 'pglite:.data/db',
    databasePoolMax: 10,
    processes: 1,
    databaseFetchEndpoint: undefined,
    jwt: { secret: JWT_SECRET, jwksUrl: undefined, issuer: undefined, audience: undefined },
    requestTimeoutMs: 5000,
    readTimeoutMs: 10_000,
    idleTimeoutMs: 60_000,
    shutdownTimeoutMs: 15_000,
    shutdownDelayMs: 0,
    bodyLimitBytes: 65_536,
    rateLimit: { max: 600, windowS: 60 },
    dispatchEnabled: true,
    dispatch: {
      intervalMs: 5000,
      batch: 100,
      concurrency: 16,
      leaseMs: 60_000,
      maxAttempts: 10,
      deliveryTimeoutMs: 15_000,
    },
    webhookAllowPrivate: true,
    retentionDays: 30,
    secretsKeysOld: [],
    trustProxy: false,
    corsOrigins: [],
    traces: undefined,
  });
  assert.equal(config.email.provider, 'log');
  assert.equal(parse(production).webhookAllowPrivate, false);
});

test('traces are configured by the names of OpenTelemetry', () => {
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'https://otlp.example.com/otlp';
  const plain = { endpoint: OTEL_EXPORTER_OTLP_ENDPOINT, headers: {}, serviceName: 'keelson' };
  const always = { sampler: 'always_on', parentBased: true, ratio: 1 };
  assert.deepEqual(parse({ OTEL_EXPORTER_OTLP_ENDPOINT }).traces, { ...plain, ...always });
  const { traces } = parse({
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS: 'Authorization=Basic%20YWJjOg==, x-tenant = a=b',
    OTEL_SERVICE_NAME: 'billing',
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
  });
  const headers = { Authorization: 'Basic YWJjOg==', 'x-tenant': 'a=b' };
  const ratio = { sampler: 'traceidratio', parentBased: true, ratio: 0.25 };
  assert.deepEqual(traces, { ...plain, headers, serviceName: 'billing', ...ratio });
  const { sampler, parentBased } =
    parse({ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER: 'always_off' }).traces ?? {};
  assert.deepEqual({ sampler, parentBased }, { sampler: 'always_off', parentBased: false });
});

test('an empty variable counts as unset', () => {
  const names = ['PORT', 'HOST', 'METRICS_ADDR', 'DATABASE_URL', 'CORS_ORIGINS', 'JWKS_URL', 'WEBHOOK_ALLOW_PRIVATE'];
  assert.deepEqual(parse(Object.fromEntries(names.map((name) => [name, '']))), parse());
});

test('what is set is taken', () => {
  assert.deepEqual(parse({ METRICS_ADDR: 'off' }).metrics, undefined);
  assert.deepEqual(parse({ METRICS_ADDR: ':9100' }).metrics, { host: '0.0.0.0', port: 9100 });
  assert.deepEqual(parse({ METRICS_ADDR: '[::1]:9100' }).metrics, { host: '::1', port: 9100 });
  assert.deepEqual(parse({ METRICS_ADDR: 'localhost:65535' }).metrics, { host: 'localhost', port: 65_535 });
  const origins = parse({ CORS_ORIGINS: 'https://a.example, http://localhost:3000' }).corsOrigins;
  assert.deepEqual(origins, ['https://a.example', 'http://localhost:3000']);
  assert.equal(parse({ PORT: '0' }).port, 0);
  assert.equal(parse({ PROCESSES: 'auto' }).processes, 'auto');
  assert.equal(parse({ PROCESSES: '64', DATABASE_URL: 'postgres://db/app' }).processes, 64);
  assert.equal(parse({ DISPATCH_ENABLED: 'false' }).dispatchEnabled, false);
  assert.equal(parse({ WEBHOOK_ALLOW_PRIVATE: 'false' }).webhookAllowPrivate, false);
  assert.equal(parse({ ...production, DATABASE_URL: 'pglite:/var/db' }).databaseUrl, 'pglite:/var/db');
  assert.equal(parse({ DATABASE_URL: 'postgresql://db/app' }).databaseUrl, 'postgresql://db/app');
  const earlier = Buffer.alloc(32, 8).toString('base64');
  assert.deepEqual(parse({ SECRETS_KEYS_OLD: `${earlier}, ${SECRETS_KEY}` }).secretsKeysOld, [earlier, SECRETS_KEY]);
  const keys = parse({ JWT_SECRET: '', JWKS_URL: 'https://issuer.example/keys' }).jwt;
  assert.deepEqual([keys.secret, keys.jwksUrl], [undefined, 'https://issuer.example/keys']);
});

// Marked, so that no message can contain one by chance.
const bad: Record<string, string[]> = {
  APP_ENV: ['qqq', 'Production'],
  METRICS_ADDR: ['qqq', 'qqq:', 'qqq:99999', 'qqq:1:2', ':-77'],
  LOG_LEVEL: ['qqq', 'INFO'],
  LOG_FORMAT: ['qqq', 'JSON'],
  DATABASE_URL: [
    'qqq',
    'mysql://qqq',
    'pglite:',
    'postgres://',
    'postgres://u:qqq@[bad/db',
    'postgres://qqq:99999999/',
  ],
  DATABASE_FETCH_ENDPOINT: ['qqq', 'ftp://qqq'],
  PROCESSES: ['qqq', '0', '65', '1.5', '-2', 'AUTO'],
  JWT_SECRET: ['qqq', 'q'.repeat(31)],
  JWKS_URL: ['qqq', 'file:///qqq'],
  DISPATCH_ENABLED: ['qqq', '77'],
  WEBHOOK_ALLOW_PRIVATE: ['qqq', 'TRUE'],
  TRUST_PROXY: ['qqq'],
  SECRETS_KEY: ['qqq', `${'q'.repeat(42)}=`, 'q'.repeat(44), `${'q'.repeat(43)}=\n`],
  SECRETS_KEYS_OLD: [
    'qqq',
    `${'q'.repeat(43)}`,
    `${SECRETS_KEY},`,
    `${SECRETS_KEY},qqq`,
    `${SECRETS_KEY} ${SECRETS_KEY}`,
  ],
  CORS_ORIGINS: ['qqq', 'https://qqq.example/path', 'https://a.example,', 'https://qqq.example/'],
  OTEL_EXPORTER_OTLP_ENDPOINT: ['qqq'],
  OTEL_EXPORTER_OTLP_HEADERS: [
    'qqq',
    '=qqq',
    'qqq=',
    'q q=1',
    'a=1,qqq',
    'a=1,,b=2',
    'a=%qq',
    'a=qqq%0d%0ab',
    'a=qqqü',
  ],
  OTEL_SERVICE_NAME: ['q'.repeat(256)],
  OTEL_TRACES_SAMPLER: ['qqq', 'jaeger_remote', 'ALWAYS_ON', 'parentbased_qqq'],
  OTEL_TRACES_SAMPLER_ARG: ['qqq', '-0.1', '1.1', '.5', '1e-3', 'NaN'],
  EMAIL_PROVIDER: ['qqq'],
  RESEND_URL: ['qqq'],
};

const numbers = {
  PORT: [0, 65_535],
  DATABASE_POOL_MAX: [1],
  REQUEST_TIMEOUT_MS: [1],
  READ_TIMEOUT_MS: [1],
  IDLE_TIMEOUT_MS: [1],
  SHUTDOWN_TIMEOUT_MS: [1],
  SHUTDOWN_DELAY_MS: [0],
  BODY_LIMIT_BYTES: [1],
  RATE_LIMIT_MAX: [1],
  RATE_LIMIT_WINDOW_S: [1],
  DISPATCH_INTERVAL_MS: [10],
  DISPATCH_BATCH: [1],
  DISPATCH_CONCURRENCY: [1],
  DISPATCH_LEASE_MS: [100],
  DISPATCH_MAX_ATTEMPTS: [1],
  DELIVERY_TIMEOUT_MS: [1],
  RETENTION_DAYS: [1],
} satisfies Record<string, [number, number?]>;

describe('a value that makes no sense is refused, by name and never with the value', () => {
  for (const [name, values] of Object.entries(bad)) {
    test(name, () => {
      for (const value of values) {
        const problems = problemsOf({ [name]: value });
        assert.deepEqual(problems.length, 1, `${value}: ${problems}`);
        assert.ok(problems[0]?.startsWith(`${name} `), problems[0]);
        assert.ok(!problems[0]?.includes('qqq'), problems[0]);
      }
    });
  }

  for (const [name, [least, most]] of Object.entries(numbers) as [string, [number, number?]][]) {
    test(`${name}, which is a whole number from ${least}`, () => {
      const out = [String(least - 1), String((most ?? 99_999_999_999) + 1), '9'.repeat(30)];
      for (const value of [...out, '-7777', '7777.5', '7777e1', '0x7777', ' 7777', '7777ms', 'NaN', 'Infinity']) {
        const [problem = '', ...others] = problemsOf({ [name]: value });
        assert.match(problem, new RegExp(`^${name} must be a whole number from ${least} to \\d+$`), value);
        assert.deepEqual(others, []);
        if (value.length > 3 && value !== '65536') assert.ok(!problem.includes(value), problem);
      }
    });
  }
});

describe('values that do not go together are refused', () => {
  const cases: [what: string, env: Env, names: string[]][] = [
    ['a stop that could cut requests short', { SHUTDOWN_TIMEOUT_MS: '5000' }, ['SHUTDOWN_TIMEOUT_MS']],
    ['the same, by the other', { REQUEST_TIMEOUT_MS: '15000' }, ['SHUTDOWN_TIMEOUT_MS']],
    ['a lease that a delivery can outlast', { DISPATCH_LEASE_MS: '15000' }, ['DISPATCH_LEASE_MS']],
    ['no way to check a token', { JWT_SECRET: undefined }, ['JWT_SECRET']],
    ['a key set that has no valid URL', { JWT_SECRET: undefined, JWKS_URL: 'file:///keys' }, ['JWKS_URL']],
    ['two ways to check a token', { JWKS_URL: 'https://issuer.example' }, ['JWKS_URL']],
    [
      'two ways to check a token, one of them wrong',
      { JWKS_URL: 'https://issuer.example', JWT_SECRET: 'short' },
      ['JWT_SECRET', 'JWKS_URL'],
    ],
    ['production without a database', { ...production, DATABASE_URL: undefined }, ['DATABASE_URL']],
    ['several processes on the embedded database', { PROCESSES: '2' }, ['PROCESSES']],
    ['the same, in another folder', { PROCESSES: '2', DATABASE_URL: 'pglite:/var/db' }, ['PROCESSES']],
    ['several processes without a database', { ...production, DATABASE_URL: '', PROCESSES: '2' }, ['DATABASE_URL']],
    ['several processes on a wrong one', { DATABASE_URL: 'mysql://db', PROCESSES: '2' }, ['DATABASE_URL']],
    ['production without a sealing key', { ...production, SECRETS_KEY: undefined }, ['SECRETS_KEY']],
    [
      'production with a generated secret',
      { ...production, JWT_SECRET: DEVELOPMENT_SECRET + JWT_SECRET },
      ['JWT_SECRET'],
    ],
    [
      'production with a generated key',
      { ...production, SECRETS_KEY: DEVELOPMENT_KEY + Buffer.alloc(20).toString('base64') },
      ['SECRETS_KEY'],
    ],
    [
      'production with a generated key among the earlier ones',
      {
        ...production,
        SECRETS_KEYS_OLD: `${SECRETS_KEY},${DEVELOPMENT_KEY}${Buffer.alloc(20).toString('base64')}`,
      },
      ['SECRETS_KEYS_OLD'],
    ],
    [
      'production with webhooks to private addresses',
      { ...production, WEBHOOK_ALLOW_PRIVATE: 'true' },
      ['WEBHOOK_ALLOW_PRIVATE'],
    ],
    ['email without its key and sender', { EMAIL_PROVIDER: 'resend' }, ['RESEND_API_KEY', 'EMAIL_FROM']],
  ];
  for (const [what, env, names] of cases) {
    test(what, () => assert.deepEqual(refusedIn(env), names));
  }

  test('but the generated ones do in development', () => {
    const generated = {
      JWT_SECRET: DEVELOPMENT_SECRET + JWT_SECRET,
      SECRETS_KEY: DEVELOPMENT_KEY + Buffer.alloc(20).toString('base64'),
    };
    assert.deepEqual(problemsOf(generated), []);
    assert.deepEqual(problemsOf(production), []);
  });
});

test('every problem is told at once', () => {
  const env = { PORT: 'x', LOG_LEVEL: 'x', EMAIL_PROVIDER: 'resend', SHUTDOWN_TIMEOUT_MS: '1', JWT_SECRET: 'x' };
  const names = ['EMAIL_FROM', 'JWT_SECRET', 'LOG_LEVEL', 'PORT', 'RESEND_API_KEY', 'SHUTDOWN_TIMEOUT_MS'];
  assert.deepEqual(refusedIn(env).sort(), names);
});

test('a lease outlasts a delivery by a second, for an answer of the database that comes late', () => {
  const leaseOf = (ms: string) => parse({ DISPATCH_LEASE_MS: ms, DELIVERY_TIMEOUT_MS: '15000' }).dispatch.leaseMs;
  assert.deepEqual(['15001', '16000', '20000'].map(leaseOf), [16_000, 16_000, 20_000]);
});

describe('what is allowed and probably not meant is told', () => {
  const jwks = { JWT_SECRET: '', JWKS_URL: 'https://id.example.com/keys', JWT_AUDIENCE: 'api' };
  const cases: [what: string, env: Env, advice: RegExp[]][] = [
    [
      'tokens of an identity provider that are for anybody',
      { ...jwks, JWT_AUDIENCE: '' },
      [/^JWKS_URL without JWT_AUD/],
    ],
    ['keys over a network without TLS', { ...jwks, JWKS_URL: 'http://id.example.com/keys' }, [/^JWKS_URL without TLS/]],
    ['email that is not sent', { EMAIL_PROVIDER: 'log' }, [/^EMAIL_PROVIDER=log sends no email/]],
    ['nor by a process that delivers nothing', { EMAIL_PROVIDER: 'log', DISPATCH_ENABLED: 'false' }, []],
    ['nothing of what is meant', jwks, []],
  ];
  for (const [what, env, expected] of cases) {
    test(what, () => {
      const { advice } = parse({ ...production, ...email, ...env });
      assert.equal(advice.length, expected.length, String(advice));
      for (const [i, advisory] of expected.entries()) assert.match(advice[i] as string, advisory);
    });
  }

  test('but in development keys may come from this machine, and emails are read in the inbox', () => {
    assert.deepEqual(parse({ JWT_SECRET: '', JWKS_URL: 'http://127.0.0.1:1/keys' }).advice, []);
  });

  test('on Workers an empty variable is not set, either', () => {
    assert.equal(dispatcherConfig({ ...production, DISPATCH_CONCURRENCY: '' }).dispatch.concurrency, 5);
    assert.equal(workersConfig({ ...production, ...bindings, RATE_LIMIT_WINDOW_S: '' }).rateLimit.windowS, 60);
  });

  test('on Workers, what wrangler.toml should bind, and a store that does not exist there', () => {
    assert.deepEqual(workersConfig({ ...production, ...bindings }).advice, []);
    assert.deepEqual(workersConfig({ ...production, RATE_LIMIT_STORE: 'postgres' }).advice, [
      'ASSETS is not bound: there are no pages',
      'DISPATCHER is not bound: notifications wait for the cron trigger',
      'RATE_LIMITER is not bound: requests are counted by isolate',
      'RATE_LIMIT_STORE has no effect on Workers',
    ]);
    assert.match(String(dispatcherConfig(production).advice), /^EMAIL_PROVIDER=log/);
    const many = { ...production, DISPATCHERS: '50', DISPATCH_SUBREQUESTS: '50' };
    assert.throws(() => dispatcherConfig(many), /DISPATCHERS must be less than DISPATCH_SUBREQUESTS/);
  });
});

describe('a variable that is nearly one of ours is named with the one that is meant, and never with its value', () => {
  const meant: Record<string, string> = {
    DATABSE_URL: 'DATABASE_URL',
    DATABASE_URI: 'DATABASE_URL',
    RATE_LIMT_MAX: 'RATE_LIMIT_MAX',
    SECRET_KEY: 'SECRETS_KEY',
    CORS_ORIGIN: 'CORS_ORIGINS',
    APPENV: 'APP_ENV',
    PROT: '',
    PORTS: 'PORT',
    database_url: 'DATABASE_URL',
  };
  for (const [name, known] of Object.entries(meant)) {
    test(`${name}: ${known || 'too far'}`, () => {
      const expected = known ? [`${name} is set and unknown: did you mean ${known}?`] : [];
      assert.deepEqual(parse({ [name]: 'qqq' }).warnings, expected);
      assert.deepEqual(problemsOf({ [name]: 'qqq', PORT: 'x' }).slice(1), expected);
      assert.deepEqual(parse({ [name]: '' }).warnings, []);
    });
  }

  test('on Workers too, where what is bound is no variable', () => {
    const bound = { ...production, ...bindings, RATE_LIMIT_MX: '5' };
    const expected = ['RATE_LIMIT_MX is set and unknown: did you mean RATE_LIMIT_MAX?'];
    assert.deepEqual(workersConfig(bound).warnings, expected);
    assert.deepEqual(dispatcherConfig(bound).warnings, expected);
  });

  test('but not what any machine, npm or another program sets', () => {
    const common =
      `_ CI COLORTERM COLUMNS DEBUG DISPLAY EDITOR HOME HOSTNAME HOSTTYPE LANG LC_ALL LINES LOGNAME LS_COLORS
      MAIL MANPATH NODE_ENV NODE_OPTIONS NODE_PATH OLDPWD OSTYPE PAGER PATH PGHOST PGPORT PGUSER PS1 PWD SHELL SHLVL
      SSH_AUTH_SOCK SUDO_USER TEMP TERM TEST TMP TMPDIR TZ UID USER USERNAME VIRTUAL_ENV XDG_RUNTIME_DIR npm_config_host
      npm_command npm_config_port npm_execpath npm_lifecycle_event npm_node_execpath npm_package_json INIT_CWD
      INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET KUBERNETES_PORT KUBERNETES_SERVICE_HOST REDIS_HOST REDIS_PORT REDIS_URL
      DB_HOST DB_PORT API_PORT API_URL APP_URL APP_NAME APP_KEY JWT_TTL OTEL_RESOURCE_ATTRIBUTES
      OTEL_EXPORTER_OTLP_PROTOCOL OTEL_TRACES_EXPORTER OTEL_PROPAGATORS OTEL_DENO GITHUB_TOKEN AWS_REGION CF_PAGES FLY_REGION DENO_DIR BUN_INSTALL
      WRANGLER_SEND_METRICS CLOUDFLARE_API_TOKEN DEV_CRON_S KEELSON_WORKER`.split(/\s+/);
    assert.deepEqual(parse(Object.fromEntries(common.map((name) => [name, 'qqq']))).warnings, []);
    assert.deepEqual(parse({ ['A'.repeat(1_000_000)]: 'qqq' }).warnings, []);
  });

  test('NODE_ENV=production without APP_ENV, which alone decides, is told', () => {
    const expected = ['NODE_ENV=production has no effect without APP_ENV=production'];
    assert.deepEqual(parse({ NODE_ENV: 'production' }).warnings, expected);
    assert.deepEqual(parse({ NODE_ENV: 'production', APP_ENV: 'development' }).warnings, []);
    assert.deepEqual(parse({ ...production, NODE_ENV: 'production' }).warnings, []);
    assert.deepEqual(parse({ NODE_ENV: 'development' }).warnings, []);
  });
});
