import { env, waitUntil } from 'cloudflare:workers';
import { app } from '../app.ts';
import { type Deps, type Log, noMetrics } from '../deps.ts';
import { abortable } from '../http/abortable.ts';
import { DISCARD_FACTOR } from '../http/limited-body.ts';
import { type AssetsBinding, workersAssets } from '../platform/assets-workers.ts';
import { openNeon } from '../platform/db-neon.ts';
import { memoryLimiter } from '../platform/limiter-memory.ts';
import { type RateLimitBinding, workersLimiter } from '../platform/limiter-workers.ts';
import { createLog } from '../platform/log.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { createVerifier } from '../platform/verify-jwt.ts';
import { warn } from './config.ts';
import { workersConfig } from './workers-config.ts';

/** The bindings in wrangler.toml, besides vars and secrets. */
type Bindings = {
  /** The static files, which `npm run build:edge` writes. */
  ASSETS?: AssetsBinding;
  RATE_LIMITER?: RateLimitBinding;
  /** The dispatcher's Worker, worker-cron/. */
  DISPATCHER?: { wake(changedEndpointId?: string): Promise<void> };
};

/** Milliseconds for which a body that nobody reads is discarded at most. */
const DISCARD_MS = 2000;
/** Bytes that the platform itself discards. */
const DISCARDED = 65_536;

const bindings = env as Bindings;

// 1 Configuration: at module scope, so that an invalid one fails the deployment and not the first request.
const config = workersConfig(env as Record<string, unknown>);
const discardMax = DISCARD_FACTOR * config.bodyLimitBytes;

// 2 Logger: the platform adds line ends.
const log = createLog(config.logLevel, (line) => console.log(line.trimEnd()));
warn(config, log);

// 3 Database: nothing to open, as each statement is an HTTP request.
const { db } = openNeon({
  url: config.databaseUrl,
  fetchEndpoint: config.databaseFetchEndpoint,
  statementTimeoutMs: config.requestTimeoutMs,
});

// 4 Dependencies that outlive a request.
const { max, windowS } = config.rateLimit;
// Evaluated only if tracing is configured.
const tracing =
  config.traces && (await import('../platform/tracing-otlp.ts')).otlpTracing(config.traces, log, { timer: false });
const deps: Omit<Deps, 'clientAddress' | 'inFlight' | 'wake'> = {
  settings: config,
  db,
  now: () => new Date(),
  secrets: createSecretBox(config.secretsKey, config.secretsKeysOld),
  // Loaded, with the address parser, when the first URL is checked.
  refuseWebhookUrl: async (url) => {
    const { checkWebhookUrl } = await import('../dispatcher/channels/address.ts');
    return checkWebhookUrl(url, { allowPrivate: config.webhookAllowPrivate });
  },
  limiter: bindings.RATE_LIMITER ? workersLimiter(bindings.RATE_LIMITER, max, windowS) : memoryLimiter(max, windowS),
  verifier: createVerifier(config.jwt, log, waitUntil),
  assets: bindings.ASSETS ? workersAssets(bindings.ASSETS) : async () => undefined,
  log,
  metrics: noMetrics,
  tracing: tracing?.tracing,
  draining: () => false,
};

export default {
  fetch(request, _env, ctx) {
    const clientAddress = request.headers.get('cf-connecting-ip') ?? 'unknown';
    const own = {
      ...deps,
      clientAddress,
      // Counts this request alone: the platform may end one silently, which a shared count would include for ever.
      inFlight: { count: 0 },
      wake: (changed?: string) => wake(bindings, ctx, log, changed),
    };
    const response = answer(request, own, ctx);
    // The platform ends a request when its client disconnects, and with it the ring for committed work. Spans are
    // exported after each request: an isolate may be gone before a batch is full.
    ctx.waitUntil(response.then(() => tracing?.flush()));
    return response;
  },
} satisfies ExportedHandler;

async function answer(request: Request, deps: Deps, ctx: ExecutionContext): Promise<Response> {
  const response = await app.fetch(request, deps, ctx);
  const length = request.headers.get('content-length');
  const isToDiscard = length === null || (Number(length) > DISCARDED && Number(length) <= discardMax);
  if (isToDiscard && request.body && !request.bodyUsed) await discard(request.body);
  return response;
}

/** Reads and discards a body: the platform would close the connection before its client has read the response. */
async function discard(body: ReadableStream<Uint8Array>): Promise<void> {
  let size = 0;
  const nowhere = new WritableStream<Uint8Array>({
    write({ byteLength }) {
      size += byteLength;
      if (size > discardMax) throw new Error('too long');
    },
  });
  const signal = AbortSignal.timeout(DISCARD_MS);
  // workerd looks at a pipe's signal only when bytes arrive.
  await abortable(body.pipeTo(nowhere, { signal }), signal).catch(() => {});
}

// A lost ring delays work until the cron trigger, so a failure is only logged.
function wake({ DISPATCHER }: Bindings, ctx: ExecutionContext, log: Log, changed?: string): void {
  if (!DISPATCHER) return;
  ctx.waitUntil(
    Promise.resolve()
      .then(() => DISPATCHER.wake(changed))
      .catch((error) => log.warn('ring failed', { error })),
  );
}
