import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { startCollector } from '../support/collector.ts';
import { ownDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

// The collector's decoder expects what our exporter sends. From Deno's own, this test reads only what it asserts on.
// biome-ignore lint/suspicious/noExplicitAny: what Deno sends
type Json = any;

test("Deno's own tracing is used where OTEL_DENO=true, and ours is not", async (t) => {
  const { url: DATABASE_URL } = await ownDatabase(t);
  const collector = await startCollector();
  t.after(collector.close);
  const deno = { OTEL_DENO: 'true', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_DENO_CONSOLE: 'ignore' };
  const env = { ...deno, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_SERVICE_NAME: 'under-deno', DATABASE_URL };
  const service = await startService(env, COMMANDS.deno);
  t.after(() => service.stop('SIGKILL'));
  const ask = async (path: string, body: object, own = {}) => {
    const init = { method: 'POST', headers: { ...headers(), ...own }, body: JSON.stringify(body) };
    const response = await fetch(`${service.url}/api/v1${path}`, init);
    return { response, json: (await response.json()) as Json };
  };
  const hooked = await ask('/webhook-endpoints', { url: collector.sink.url('/hook'), events: ['order.sent'] });
  assert.equal(hooked.response.status, 201);
  const [traceId, parent] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  const notice = { email: 'ada@example.com', type: 'order.sent', data: {} };
  const made = await ask('/notifications', notice, { traceparent: `00-${traceId}-${parent}-01` });
  assert.equal(made.response.status, 202);
  const [hook] = await collector.sink.received('/hook');
  const logged = await service.line(({ path }) => path === '/api/v1/notifications');
  assert.equal(logged.traceId, traceId);
  assert.equal(await service.stop(), 0, service.output());

  const resources = collector.exports().flatMap(({ body }) => JSON.parse(body).resourceSpans as Json[]);
  const spans = resources.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope: Json) => scope.spans as Json[]));
  const post = spans.find((span) => span.traceId === traceId && span.kind === 2);
  assert.equal(post.parentSpanId, parent);
  assert.equal(post.name, 'POST /api/v1/notifications');
  const servers = spans.filter((span) => span.traceId === traceId && span.kind === 2);
  assert.equal(servers.length, 1, 'one span for the request');
  const statement = spans.find((span) => span.parentSpanId === post.spanId);
  assert.equal(statement.name, 'notifications.create');
  const attempt = spans.find(({ name }) => name === 'deliver webhook');
  assert.equal(attempt.links[0].traceId, traceId);
  assert.equal(attempt.links[0].spanId, post.spanId);
  const call = spans.find((span) => span.parentSpanId === attempt.spanId);
  assert.equal(hook?.headers.traceparent, `00-${call.traceId}-${call.spanId}-01`);
  const [{ resource }] = resources;
  const name = resource.attributes.find(({ key }: Json) => key === 'service.name');
  assert.equal(name.value.stringValue, 'under-deno');
});

test('a collector that hangs holds up no stop', async (t) => {
  const { url: DATABASE_URL } = await ownDatabase(t);
  const collector = await startCollector();
  t.after(collector.close);
  collector.sink.reply('/v1/traces', () => {});
  // Less than an export may take.
  const env = { REQUEST_TIMEOUT_MS: '3000', SHUTDOWN_TIMEOUT_MS: '9000', OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const service = await startService({ ...env, DATABASE_URL });
  t.after(() => service.stop('SIGKILL'));
  assert.equal((await fetch(`${service.url}/health`)).status, 200);
  await collector.sink.received('/v1/traces');
  assert.equal(await service.stop(), 0, service.output());
  const said = service.lines.map(({ msg }) => msg).filter((msg) => /^(traces|tracing|database closed)/.test(msg));
  assert.deepEqual(said, ['traces not exported', 'tracing ended', 'database closed']);
});
