import type { Log, Span } from '../deps.ts';

type Options = {
  /** The value of OTEL_EXPORTER_OTLP_ENDPOINT, without `/v1/traces`. */
  endpoint: string;
  log: Log;
};

const EXPORT_EVERY_MS = 1000;
const EXPORT_TIMEOUT_MS = 5000;
/** How many spans may wait. Beyond it, new ones are dropped: tracing must never delay a request. */
const MAX_WAITING = 4096;
const SERVER = 2;
const ERROR = 2;

/** Exports spans by OTLP over HTTP with JSON, in batches. Spans that cannot be exported are dropped, with a log line. */
export function otlpTrace({ endpoint, log }: Options) {
  const url = `${endpoint.replace(/(?<!\/)\/+$/, '')}/v1/traces`;
  let waiting: Span[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function flush(): Promise<void> {
    if (timer !== undefined) clearTimeout(timer);
    timer = undefined;
    const spans = waiting;
    waiting = [];
    if (spans.length === 0) return;
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(requestOf(spans)),
        signal: AbortSignal.timeout(EXPORT_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (!response.ok) log.warn('traces refused', { status: response.status, spans: spans.length });
    } catch (error) {
      log.warn('traces not exported', { error, spans: spans.length });
    }
  }

  function record(span: Span): void {
    if (waiting.length >= MAX_WAITING) return;
    waiting.push(span);
    timer ??= setTimeout(() => void flush(), EXPORT_EVERY_MS);
  }

  return { record, flush };
}

function requestOf(spans: Span[]) {
  const resource = { attributes: attributesOf({ 'service.name': 'keelson' }) };
  return { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'keelson' }, spans: spans.map(spanOf) }] }] };
}

function spanOf({ traceId, spanId, parentId, name, startMs, durationMs, status, attributes }: Span) {
  return {
    traceId,
    spanId,
    ...(parentId !== undefined && { parentSpanId: parentId }),
    name,
    kind: SERVER,
    startTimeUnixNano: nanoseconds(startMs),
    endTimeUnixNano: nanoseconds(startMs + durationMs),
    attributes: attributesOf({ ...attributes, 'http.response.status_code': status }),
    status: status >= 500 ? { code: ERROR } : {},
  };
}

function nanoseconds(ms: number): string {
  return String(BigInt(Math.round(ms * 1000)) * 1000n);
}

function attributesOf(attributes: Record<string, string | number>) {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { intValue: value } : { stringValue: value },
  }));
}
