import {
  type Attributes,
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { Db, DbError } from './db.ts';
import { type Around, carrying, formatTraceparent, parseTraceparent, type TraceParent } from './trace-context.ts';

/**
 * The spans of the service, which follow OpenTelemetry's semantic conventions. They contain nothing that a client or a
 * receiver wrote, except what is also logged (names, ids and paths that cannot be secrets) and a client's `tracestate`.
 */
export type Tracing = ReturnType<typeof createTracing>;

/** The span of a request. Call `end` once. */
export type RequestSpan = ReturnType<Tracing['request']>;

/** The span of an attempt to deliver, the root of a trace. Call `end` once. */
export type AttemptSpan = ReturnType<Tracing['attempt']>;

type Request = {
  method: string;
  /** As it is logged. */
  path: string;
  scheme: string;
  requestId: string;
  parent: TraceParent | undefined;
  tracestate: string | undefined;
};

type Attempted = {
  id: string;
  type: string;
  channel: string;
  endpointId: string | null;
  attempt: number;
  traceparent: string | null;
};

type Failure = { status?: number | null | undefined; error?: string | null | undefined };

/** Creates spans with `tracer`. This module is loaded only if traces are recorded. */
export function createTracing(tracer: Tracer) {
  /** The span of a request, with spans for the round trips to the database that it causes. */
  function request({ method, path, scheme, requestId, parent, tracestate }: Request) {
    // If OTEL_DENO=true, Deno itself starts and ends the span of a request.
    const given = trace.getActiveSpan();
    const name = method === '_OTHER' ? 'HTTP' : method;
    const attributes = { 'http.request.method': method, 'url.path': path, 'url.scheme': scheme };
    const from = parent ? trace.setSpanContext(ROOT_CONTEXT, spanContextOf(parent, tracestate)) : ROOT_CONTEXT;
    const span = given ?? tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, from);
    span.setAttribute('keelson.request_id', requestId);
    return {
      traceId: span.spanContext().traceId,
      db: <D extends Db>(db: D): D =>
        carrying(db, traceparentOf(span), span.isRecording() ? statements(tracer, span) : undefined),
      end(route: string | undefined, status: number): void {
        if (route !== undefined) {
          span.updateName(`${name} ${route}`);
          span.setAttribute('http.route', route);
        }
        if (given) return;
        span.setAttribute('http.response.status_code', status);
        if (status >= 500) fail(span, { status });
        span.end();
      },
    };
  }

  /** The span of an attempt, linked to the request that caused the message: the attempt may be days later. */
  function attempt({ id, type, channel, endpointId, attempt: number, traceparent }: Attempted) {
    const cause = parseTraceparent(traceparent);
    const attributes: Attributes = {
      'messaging.system': 'keelson',
      'messaging.operation.name': 'deliver',
      'messaging.operation.type': 'process',
      'messaging.destination.name': channel,
      'messaging.message.id': id,
      'keelson.event.type': type,
      'keelson.attempt': number,
      ...(endpointId !== null && { 'keelson.endpoint.id': endpointId }),
    };
    const links = cause ? [{ context: spanContextOf(cause) }] : [];
    const options = { kind: SpanKind.CONSUMER, root: true, attributes, links };
    const span = tracer.startSpan(`deliver ${channel}`, options, ROOT_CONTEXT);
    return {
      /** The span of its HTTP request. `traceparent` goes with the request. */
      call(method: string) {
        const own = { 'http.request.method': method, ...(number > 1 && { 'http.request.resend_count': number - 1 }) };
        const call = tracer.startSpan(method, { kind: SpanKind.CLIENT, attributes: own }, within(span));
        return {
          traceparent: traceparentOf(call),
          end(result: Failure): void {
            const { status } = result;
            if (status) call.setAttribute('http.response.status_code', status);
            if (!status || status >= 400) fail(call, result);
            call.end();
          },
        };
      },
      end(outcome: string, result: Failure): void {
        span.setAttribute('keelson.outcome', outcome);
        if (outcome !== 'sent') fail(span, result);
        span.end();
      },
    };
  }

  return { request, attempt };
}

/** Creates a span for each round trip, named after its statements. Neither their text nor values are recorded. */
function statements(tracer: Tracer, parent: Span): Around {
  const context = within(parent);
  return async (names, roundTrip) => {
    const [first] = names;
    const name = first !== undefined && names.length === 1 ? first : `BATCH ${names.join(' ')}`;
    const attributes = {
      'db.system.name': 'postgresql',
      'db.operation.name': names.length === 1 ? name : 'BATCH',
      'db.query.summary': name,
      ...(names.length > 1 && { 'db.operation.batch.size': names.length }),
    };
    const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, context);
    try {
      return await roundTrip();
    } catch (error) {
      // A statement always rejects with a DbError.
      const { sqlState, failure } = error as DbError;
      if (sqlState) span.setAttribute('db.response.status_code', sqlState);
      fail(span, { error: sqlState ?? failure });
      throw error;
    } finally {
      span.end();
    }
  };
}

// Sets no status message: `error.type` has one of a few values.
function fail(span: Span, { status, error }: Failure): void {
  span.setAttribute('error.type', status ? String(status) : (error ?? '_OTHER'));
  span.setStatus({ code: SpanStatusCode.ERROR });
}

const within = (span: Span): Context => trace.setSpan(ROOT_CONTEXT, span);

function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return formatTraceparent({ traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 });
}

function spanContextOf({ traceId, spanId, sampled }: TraceParent, tracestate?: string): SpanContext {
  const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  const traceState = tracestate === undefined ? undefined : createTraceState(tracestate);
  return { traceId, spanId, traceFlags, isRemote: true, ...(traceState && { traceState }) };
}
