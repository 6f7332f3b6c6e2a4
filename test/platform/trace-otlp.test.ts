import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { otlpTrace } from '../../src/platform/trace-otlp.ts';
import { recordingLog, silent, testDeps } from '../support/deps.ts';
import { startSink } from '../support/sink.ts';

test('a request is exported as a span of the trace that it continues', async (t) => {
  const sink = await startSink();
  t.after(() => sink.close());
  const tracing = otlpTrace({ endpoint: sink.url('/'), log: silent });
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  await app.request('/health', { headers: { traceparent } }, testDeps({ trace: tracing.record }));
  await app.request('/ready', {}, testDeps({ trace: tracing.record }));
  await tracing.flush();
  const [hook] = await sink.received('/v1/traces');
  const [{ resource, scopeSpans }] = JSON.parse(hook?.body ?? '').resourceSpans;
  assert.deepEqual(resource.attributes, [{ key: 'service.name', value: { stringValue: 'keelson' } }]);
  const [health, ready] = scopeSpans[0].spans;
  assert.equal(health.traceId, '4bf92f3577b34da6a3ce929d0e0e4736');
  assert.equal(health.parentSpanId, '00f067aa0ba902b7');
  assert.match(health.spanId, /^[0-9a-f]{16}$/);
  assert.equal(health.name, 'GET /health');
  assert.ok(BigInt(health.endTimeUnixNano) >= BigInt(health.startTimeUnixNano));
  assert.ok(Math.abs(Number(BigInt(health.endTimeUnixNano) / 1_000_000n) - Date.now()) < 60_000);
  assert.equal(ready.parentSpanId, undefined);
  assert.notEqual(ready.traceId, health.traceId);
  assert.deepEqual(ready.status, { code: 2 });
});

test('a collector that is away costs a log line, and no request', async () => {
  const log = recordingLog();
  const tracing = otlpTrace({ endpoint: 'http://127.0.0.1:1', log });
  const response = await app.request('/health', {}, testDeps({ trace: tracing.record }));
  assert.equal(response.status, 200);
  await tracing.flush();
  assert.deepEqual(
    log.lines.map(({ msg }) => msg),
    ['traces not exported'],
  );
});
