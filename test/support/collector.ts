import assert from 'node:assert/strict';
import { type Hook, startSink } from './sink.ts';

/** A span as in OTLP, with its attributes by name. */
export type ExportedSpan = {
  traceId: string;
  spanId: string;
  parentSpanId: string | undefined;
  traceState: string | undefined;
  name: string;
  kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  attributes: Record<string, unknown>;
  links: { traceId: string; spanId: string; sampled: boolean }[];
  failed: boolean;
  service: unknown;
};

/** An OTLP receiver (HTTP, JSON) on loopback that decodes requests strictly. */
export type Collector = Awaited<ReturnType<typeof startCollector>>;

export async function startCollector() {
  const sink = await startSink();
  const exports = () => sink.hooks.filter(({ path }) => path === PATH);
  return {
    url: sink.url(''),
    sink,
    exports,
    spans: () => exports().flatMap(decode),
    /** Resolves with the first matching span, past or future. */
    async span(matches: (span: ExportedSpan) => boolean): Promise<ExportedSpan> {
      const hook = await sink.first((hook) => hook.path === PATH && decode(hook).some(matches));
      return decode(hook).find(matches) as ExportedSpan;
    },
    close: sink.close,
  };
}

const PATH = '/v1/traces';
const KINDS = [undefined, 'internal', 'server', 'client', 'producer', 'consumer'] as const;
const decoded = new WeakMap<Hook, ExportedSpan[]>();

// biome-ignore lint/suspicious/noExplicitAny: a request has no type until it is decoded
type Json = any;

function decode(hook: Hook): ExportedSpan[] {
  const known = decoded.get(hook);
  if (known) return known;
  assert.equal(hook.headers['content-type'], 'application/json');
  const request = object(JSON.parse(hook.body), ['resourceSpans']);
  const spans = (request.resourceSpans as Json[]).flatMap((each) => {
    const { resource, scopeSpans } = object(each, ['resource', 'scopeSpans', 'schemaUrl']);
    const service = attributesOf(resource.attributes)['service.name'];
    return (scopeSpans as Json[]).flatMap((scope) =>
      (object(scope, ['scope', 'spans', 'schemaUrl']).spans as Json[]).map((span) => ({ ...spanOf(span), service })),
    );
  });
  assert.ok(spans.length > 0, 'no empty export');
  decoded.set(hook, spans);
  return spans;
}

const SPAN = [
  ...['traceId', 'spanId', 'parentSpanId', 'traceState', 'name', 'kind', 'startTimeUnixNano', 'endTimeUnixNano'],
  ...['attributes', 'droppedAttributesCount', 'events', 'droppedEventsCount', 'status', 'links', 'droppedLinksCount'],
  'flags',
];

function spanOf(json: Json): Omit<ExportedSpan, 'service'> {
  const span = object(json, SPAN);
  const took = nanoseconds(span.endTimeUnixNano) - nanoseconds(span.startTimeUnixNano);
  assert.ok(took >= 0n, 'a span ends after it starts');
  assert.ok(Math.abs(Number(nanoseconds(span.endTimeUnixNano) / 1_000_000n) - Date.now()) < 3_600_000, 'not long ago');
  assert.deepEqual(span.events, []);
  for (const dropped of [span.droppedAttributesCount, span.droppedEventsCount, span.droppedLinksCount]) {
    assert.equal(dropped, 0);
  }
  const kind = KINDS[span.kind];
  assert.ok(kind, `${span.kind} is no kind`);
  const status = object(span.status, ['code', 'message']);
  assert.ok(!status.message, 'a status has no message: it might quote something');
  return {
    ...idsOf(span),
    parentSpanId: span.parentSpanId ? hex(span.parentSpanId, 16) : undefined,
    traceState: span.traceState || undefined,
    name: span.name,
    kind,
    attributes: attributesOf(span.attributes),
    links: (span.links as Json[]).map((each) => {
      const link = object(each, ['traceId', 'spanId', 'traceState', 'attributes', 'droppedAttributesCount', 'flags']);
      return { ...idsOf(link), sampled: (link.flags & 1) === 1 };
    }),
    failed: status.code === 2,
  };
}

function object(json: Json, members: string[]): Json {
  assert.ok(typeof json === 'object' && json !== null && !Array.isArray(json));
  const unknown = Object.keys(json).filter((member) => !members.includes(member));
  assert.deepEqual(unknown, [], 'OTLP has no such members');
  return json;
}

const idsOf = ({ traceId, spanId }: Json) => ({ traceId: hex(traceId, 32), spanId: hex(spanId, 16) });

function hex(text: unknown, length: number): string {
  assert.ok(
    typeof text === 'string' && text.length === length && /^[0-9a-f]+$/.test(text) && /[^0]/.test(text),
    `${text}`,
  );
  return text;
}

function nanoseconds(text: unknown): bigint {
  assert.match(String(text), /^\d{19}$/);
  return BigInt(text as string);
}

function attributesOf(list: Json[]): Record<string, unknown> {
  const entries = list.map((each): [string, unknown] => {
    const { key, value } = object(each, ['key', 'value']);
    const [[type, plain], ...others] = Object.entries(value) as [[string, unknown], ...unknown[]];
    assert.deepEqual(others, []);
    assert.match(type, /^(string|int|double|bool)Value$/);
    return [key, plain];
  });
  return Object.fromEntries(entries);
}
