import type { Db } from './db.ts';

/** What a log line may carry beside its message. Never a token, a secret, an email address, a query value or a body. */
export type Fields = Record<string, unknown>;

/** One JSON line per call; an `error` field is written with its stack and causes. Never throws. */
export type Log = Record<'debug' | 'info' | 'warn' | 'error', (message: string, fields?: Fields) => void>;

/**
 * Counts one request against `key`: `sub:…`, or `address:…` before anybody is known. Fails open: a limiter that cannot
 * tell lets the request pass.
 */
export type Limiter = {
  /** Takes one from the key's quota. */
  take(key: string): Promise<Quota>;
  readonly limit: number;
  /** Seconds. */
  readonly window: number;
};

/** `remaining` and `resetS` (seconds) only where the backend knows them: never invented. */
export type Quota = { allowed: boolean; remaining?: number; resetS?: number };

/** Who a token speaks for, and what it may do. */
export type Principal = { sub: string; scopes: ReadonlySet<string> };

/** Checks a bearer token: signature, times, issuer, audience. Rejects with AppError `unauthorized` or `unavailable`. */
export type Verifier = (token: string) => Promise<Principal>;

/**
 * Keeps webhook secrets unreadable in the database. What is sealed twice differs; `open` rejects what was sealed with
 * a key that it does not have, or was altered since. `open` is called for every delivery: it must be cheap.
 */
export type SecretBox = {
  seal(text: string): Promise<string>;
  open(sealed: string): Promise<string>;
  /** Which keys there are, by the ids that sealed texts name; the first one seals. */
  keyIds(): Promise<readonly string[]>;
};

/** Called on the hot path: must not throw and must not block. Durations in seconds. */
export type Metrics = {
  requestStarted(): void;
  requestFinished(method: string, route: string, status: number, seconds: number): void;
  delivery(channel: string, outcome: string, seconds: number): void;
  dispatcherTick(failed: boolean): void;
};

/** For where nobody asks for any. */
export const noMetrics: Metrics = { requestStarted() {}, requestFinished() {}, delivery() {}, dispatcherTick() {} };

/** A request as a span of its trace. Times in milliseconds, the start since 1970. */
export type Span = {
  traceId: string;
  spanId: string;
  parentId: string | undefined;
  name: string;
  startMs: number;
  durationMs: number;
  status: number;
  attributes: Record<string, string | number>;
};

/** Settings that a request depends on; `entry/config.ts` reads and checks them. */
type Settings = {
  requestTimeoutMs: number;
  bodyLimitBytes: number;
  corsOrigins: readonly string[];
};

/** What a request may use. Handed to `app.fetch(request, deps)` as Hono's bindings; a function takes `Pick<Deps, …>`. */
export type Deps = {
  readonly settings: Settings;
  readonly db: Db;
  readonly now: () => Date;
  readonly limiter: Limiter;
  readonly verifier: Verifier;
  readonly secrets: SecretBox;
  /** Why a webhook may not be sent to this URL, in words for the client; undefined if it may. */
  readonly refuseWebhookUrl: (url: string) => string | undefined;
  /**
   * Rings the dispatchers after a commit: a hint that may be lost, never awaited. With the id of an endpoint that was
   * changed or deleted, what they hold of it and have not started is claimed again, as it now is.
   */
  readonly wake: (changedEndpointId?: string) => void;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Called once a request is answered, where traces are exported: must not throw and must not block. */
  readonly trace?: ((span: Span) => void) | undefined;
  /** Requests that were admitted and are not answered yet, in this process. */
  readonly underWay: { count: number };
  /** True from the moment a stop was asked for. */
  readonly draining: () => boolean;
  /** The client's network address, or its proxy's word for it, as it wrote it, where the proxy is trusted. */
  readonly clientAddress: string;
};
