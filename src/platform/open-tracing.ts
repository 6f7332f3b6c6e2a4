import type { Tracing } from '../tracing.ts';

/** Spans that may wait for an export. Beyond it, new ones are dropped: tracing must never delay a request. */
export const MAX_WAITING_SPANS = 2048;

/** Records spans, and exports them. */
export type OpenTracing = {
  readonly tracing: Tracing;
  /** Exports ended spans. Never rejects, and takes a bounded time. */
  flush(): Promise<void>;
  /** Exports ended spans, until `outOfTime` aborts, and for two seconds at most. Never rejects. */
  close(outOfTime: AbortSignal): Promise<void>;
};

/** Where OpenTelemetry's API keeps what is registered with it. */
const API = Symbol.for('opentelemetry.js.api.1');

/** Whether the runtime records spans itself: Deno does if OTEL_DENO=true. */
export const runtimeTraces = (): boolean => (globalThis as { [API]?: { trace?: unknown } })[API]?.trace !== undefined;
