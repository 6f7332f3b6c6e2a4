import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Log } from '../deps.ts';
import { abortable } from '../http/abortable.ts';
import { createTracing } from '../tracing.ts';
import { MAX_WAITING_SPANS, type OpenTracing } from './open-tracing.ts';

type Options = {
  /** The value of OTEL_EXPORTER_OTLP_ENDPOINT, without `/v1/traces`. */
  endpoint: string;
  headers: Record<string, string>;
  serviceName: string;
  sampler: 'always_on' | 'always_off' | 'traceidratio';
  /** Whether a span is sampled like its parent, and an attempt like the request that caused it. */
  parentBased: boolean;
  /** For `traceidratio`, from 0 to 1. */
  ratio: number;
};

const EXPORT_EVERY_MS = 1000;
/** The longest delay that a timer accepts: 24 days. */
const NEVER_MS = 2 ** 31 - 1;
const EXPORT_TIMEOUT_MS = 5000;
/** How long a stop waits for the last spans. */
const CLOSE_MS = 2000;
/** Spans in an export. */
const BATCH = 512;

/**
 * Records spans with OpenTelemetry's SDK, and exports them by OTLP over HTTP with JSON. Spans that cannot be exported
 * are dropped, with a log line. Without a `timer`, they are exported by `flush` alone, in one request.
 */
export function otlpTracing(options: Options, log: Log, { timer }: { timer: boolean }): OpenTracing {
  const batchSize = timer ? BATCH : MAX_WAITING_SPANS;
  const processor = new BatchSpanProcessor({
    exporter: exporterTo(options, log),
    scheduledDelayMillis: timer ? EXPORT_EVERY_MS : NEVER_MS,
    exportTimeoutMillis: 2 * EXPORT_TIMEOUT_MS,
    maxExportBatchSize: batchSize,
    maxQueueSize: MAX_WAITING_SPANS,
  });
  const provider = new TracerProvider({
    resource: defaultResource().merge(resourceFromAttributes({ 'service.name': options.serviceName })),
    sampler: samplerOf(options),
    spanProcessors: [processor],
  });
  return {
    tracing: createTracing(provider.getTracer('keelson')),
    flush: () => processor.forceFlush(),
    async close(outOfTime) {
      const limit = AbortSignal.any([outOfTime, AbortSignal.timeout(CLOSE_MS)]);
      await abortable(processor.shutdown(), limit).catch((error) => log.warn('traces not exported', { error }));
    },
  };
}

/** Never fails: a batch that is not accepted is dropped. */
function exporterTo({ endpoint, headers }: Options, log: Log): SpanExporter {
  const url = `${endpoint.replace(/(?<!\/)\/+$/, '')}/v1/traces`;
  const inFlight = new Set<Promise<void>>();

  async function post(spans: ReadableSpan[]): Promise<void> {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: JsonTraceSerializer.serializeRequest(spans) as Uint8Array<ArrayBuffer>,
        // A redirect would take the headers elsewhere.
        redirect: 'manual',
        signal: AbortSignal.timeout(EXPORT_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (!response.ok) log.warn('traces refused', { status: response.status, spans: spans.length });
    } catch (error) {
      log.warn('traces not exported', { error, spans: spans.length });
    }
  }

  return {
    export(spans, done) {
      const posted = post(spans).then(() => {
        inFlight.delete(posted);
        done({ code: 0 });
      });
      inFlight.add(posted);
    },
    shutdown: async () => {
      await Promise.all(inFlight);
    },
  };
}

function samplerOf({ sampler, parentBased, ratio }: Options): Sampler {
  const own = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: () => new TraceIdRatioBasedSampler(ratio),
  }[sampler]();
  return parentBased ? new ParentBasedSampler({ root: new LinkBasedSampler(own) }) : own;
}

/** Samples a span without a parent like its first link, so that a request is sampled with its deliveries. */
class LinkBasedSampler implements Sampler {
  readonly #otherwise: Sampler;

  constructor(otherwise: Sampler) {
    this.#otherwise = otherwise;
  }

  shouldSample(...[context, traceId, name, kind, attributes, links]: Parameters<Sampler['shouldSample']>) {
    const [cause] = links;
    if (!cause) return this.#otherwise.shouldSample(context, traceId, name, kind, attributes, links);
    const sampled = (cause.context.traceFlags & 1) === 1;
    return { decision: sampled ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD };
  }

  toString(): string {
    return `LinkBased{${this.#otherwise}}`;
  }
}
