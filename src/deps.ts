import type { Db } from './db.ts';
import type { Tracing } from './tracing.ts';

/** The fields of a log line. Never a token, a secret, an email address, a query value or a body. */
export type Fields = Record<string, unknown>;

/** One JSON line per call; an `error` field is written with its stack and causes. Never throws. */
export type Log = Record<'debug' | 'info' | 'warn' | 'error', (message: string, fields?: Fields) => void>;

/**
 * Counts one request against `key`: `sub:…`, or `address:…` for a client without a valid token. Fails open: if the
 * backend is unavailable, the request is allowed.
 */
export type Limiter = {
  /** Takes one request from the key's quota. */
  take(key: string): Quota | Promise<Quota>;
  readonly limit: number;
  /** Seconds. */
  readonly window: number;
};

/** `remaining` and `resetS` (seconds) are set only if the backend knows them. */
export type Quota = { allowed: boolean; remaining?: number; resetS?: number };

/** The subject and the scopes of a token. */
export type Principal = {
  sub: string;
  scopes: ReadonlySet<string>;
  /** When the token expires, in seconds since the Unix epoch, if it does. */
  expiresS?: number | undefined;
};

/** Checks a bearer token: signature, times, issuer, audience. Rejects with AppError `unauthorized` or `unavailable`. */
export type Verifier = (token: string) => Principal | Promise<Principal>;

/**
 * Encrypts webhook secrets for the database. Sealing the same text twice gives different results. `open` rejects text
 * that was sealed with an unknown key or was altered. It is called for every delivery: it must be cheap.
 */
export type SecretBox = {
  seal(text: string): Promise<string>;
  open(sealed: string): Promise<string>;
  /** The ids of the keys, as in sealed texts. The first key seals. */
  keyIds(): Promise<readonly string[]>;
};

/** A static file. `etag` is its entity tag, as written in the header. */
export type Asset = { body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>; etag: string };

/** Gets one of the service's static files (the list is in `entry/assets.ts`). Undefined for any other name. */
export type Assets = (name: string, signal: AbortSignal) => Promise<Asset | undefined>;

/** Called on the hot path: must not throw and must not block. Durations in seconds. */
export type Metrics = {
  requestStarted(): void;
  requestFinished(method: string, route: string, status: number, seconds: number): void;
  delivery(channel: string, outcome: string, seconds: number): void;
  dispatcherTick(failed: boolean): void;
};

/** No-op metrics (METRICS_ADDR=off). */
export const noMetrics: Metrics = { requestStarted() {}, requestFinished() {}, delivery() {}, dispatcherTick() {} };

/** The settings of requests. `entry/config.ts` reads and checks them. */
type Settings = {
  production: boolean;
  requestTimeoutMs: number;
  bodyLimitBytes: number;
  corsOrigins: readonly string[];
};

/** The dependencies of requests: Hono's bindings in `app.fetch(request, deps)`. A function takes `Pick<Deps, …>`. */
export type Deps = {
  readonly settings: Settings;
  readonly db: Db;
  readonly now: () => Date;
  readonly limiter: Limiter;
  readonly verifier: Verifier;
  readonly secrets: SecretBox;
  /** Returns why webhooks may not be sent to this URL, as a message for the client, or undefined if they may. */
  readonly refuseWebhookUrl: (url: string) => Promise<string | undefined>;
  /**
   * Rings the dispatchers after a commit. This is a hint: it may be lost, and is never awaited. Given the id of an
   * endpoint that was changed or deleted, they release its deliveries that have not started, and claim them again.
   */
  readonly wake: (changedEndpointId?: string) => void;
  readonly assets: Assets;
  /** In development, creates the token that `/docs` fills in and a sign-in link grants. Undefined in production. */
  readonly developmentToken?: (() => Promise<string>) | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Records spans, if traces are exported. */
  readonly tracing?: Tracing | undefined;
  /** Requests in progress in this process. */
  readonly inFlight: { count: number };
  /** Returns true once a stop has been requested. */
  readonly draining: () => boolean;
  /** The client's network address, or the one that a trusted proxy reports, unparsed. */
  readonly clientAddress: string;
};
