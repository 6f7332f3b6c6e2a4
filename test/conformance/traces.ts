import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Collector } from '../support/collector.ts';
import { assertSigned, type Hook, type Sink, startSink } from '../support/sink.ts';
import { caller, type Target, unique, uniqueEmail } from './target.ts';

/** The settings with which a service exports the traces that its callers sample, and no others. */
export const tracesTo = ({ url }: Collector) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=north%20west',
  OTEL_SERVICE_NAME: 'under-test',
  OTEL_TRACES_SAMPLER: 'parentbased_always_off',
});

/** The traces of a request and of its delivery, as a collector receives them. */
export function traces(target: () => Target, collector: () => Collector): void {
  let sink: Sink;
  before(async () => {
    sink = await startSink();
  });
  after(() => sink.close());

  describe('traces', () => {
    test('lead from the client through POST and its statement to the attempt and the receiver', async () => {
      const call = caller(target);
      const type = `test.t${unique()}`;
      const secretPath = `/${unique()}?key=${unique()}`;
      const hook = await call('POST', '/api/v1/webhook-endpoints', {
        body: { url: sink.url(secretPath), events: [type] },
      });
      const [traceId, parent] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
      const body = { email: uniqueEmail(), type, data: { text: unique() } };
      const own = { traceparent: `00-${traceId}-${parent}-01`, tracestate: 'vendor=opaque' };
      const made = await call('POST', '/api/v1/notifications?', { body, headers: own });
      assert.equal(made.status, 202, made.text);
      const [received] = (await sink.received(secretPath)) as [Hook];
      assertSigned(received, hook.json.secret);

      const post = await collector().span((span) => span.traceId === traceId && span.kind === 'server');
      assert.deepEqual(
        { ...post, spanId: '' },
        {
          traceId,
          spanId: '',
          parentSpanId: parent,
          traceState: 'vendor=opaque',
          name: 'POST /api/v1/notifications',
          kind: 'server',
          attributes: {
            'http.request.method': 'POST',
            'url.path': '/api/v1/notifications',
            'url.scheme': 'http',
            'keelson.request_id': made.headers.get('x-request-id'),
            'http.route': '/api/v1/notifications',
            'http.response.status_code': 202,
          },
          links: [],
          failed: false,
          service: 'under-test',
        },
      );

      const inserted = await collector().span((span) => span.traceId === traceId && span.kind === 'client');
      assert.equal(inserted.parentSpanId, post.spanId);
      assert.equal(inserted.name, 'notifications.create');
      assert.deepEqual(inserted.attributes, {
        'db.system.name': 'postgresql',
        'db.operation.name': 'notifications.create',
        'db.query.summary': 'notifications.create',
      });

      const webhookId = received.headers['webhook-id'];
      const attempt = await collector().span(({ attributes }) => attributes['messaging.message.id'] === webhookId);
      assert.notEqual(attempt.traceId, traceId, 'a trace of its own');
      assert.equal(attempt.parentSpanId, undefined);
      assert.equal(attempt.kind, 'consumer');
      assert.equal(attempt.name, 'deliver webhook');
      assert.deepEqual(attempt.links, [{ traceId, spanId: post.spanId, sampled: true }]);
      assert.deepEqual(attempt.attributes, {
        'messaging.system': 'keelson',
        'messaging.operation.name': 'deliver',
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'webhook',
        'messaging.message.id': webhookId,
        'keelson.event.type': type,
        'keelson.attempt': 1,
        'keelson.endpoint.id': hook.json.id,
        'keelson.outcome': 'sent',
      });

      const sent = await collector().span((span) => span.traceId === attempt.traceId && span.kind === 'client');
      assert.equal(sent.parentSpanId, attempt.spanId);
      assert.equal(sent.name, 'POST');
      assert.deepEqual(sent.attributes, { 'http.request.method': 'POST', 'http.response.status_code': 204 });
      assert.equal(received.headers.traceparent, `00-${sent.traceId}-${sent.spanId}-01`);
      assert.equal(received.headers.tracestate, undefined);
      for (const { headers } of collector().exports()) assert.equal(headers['x-tenant'], 'north west');
    });

    test('have the failure of a request, and neither what a client wrote nor what its parent did not sample', async () => {
      const call = caller(target);
      const traceId = randomBytes(16).toString('hex');
      const secret = `whsec_${unique()}`;
      const own = {
        tracestate: `a=${secret}`,
        'User-Agent': secret,
        traceparent: `00-${traceId}-${'1'.repeat(16)}-01`,
      };
      const [unsampled, none] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
      const list = '/api/v1/webhook-endpoints';
      await call('GET', `${list}?limit=1`, { headers: { traceparent: `00-${unsampled}-${'2'.repeat(16)}-00` } });
      await call('GET', `${list}?limit=1`, { headers: { traceparent: `00-${none}-${'0'.repeat(16)}-01` } });
      const refused = await call('PUT', `${list}/${secret}?email=${secret}`, { body: { url: secret }, headers: own });
      assert.equal(refused.status, 404);
      const span = await collector().span((span) => span.traceId === traceId);
      assert.equal(span.attributes['url.path'], `${list}/[redacted]`);
      assert.equal(span.attributes['http.response.status_code'], 404);
      assert.equal(span.failed, false, "a client's mistake is no error of the server's");
      const all = collector()
        .exports()
        .map(({ body }) => body)
        .join('\n');
      for (const hidden of [secret, unsampled, none, '@example.com', '?', 'key='])
        assert.ok(!all.includes(hidden), hidden);
    });
  });
}
