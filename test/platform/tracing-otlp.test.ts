import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { MAX_WAITING_SPANS } from '../../src/platform/open-tracing.ts';
import { otlpTracing } from '../../src/platform/tracing-otlp.ts';
import { startCollector } from '../support/collector.ts';
import { noDb, recordingLog, silent, testDeps } from '../support/deps.ts';

const defaults = { headers: {}, serviceName: 'keelson', sampler: 'always_on', parentBased: true, ratio: 1 } as const;
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const from = (flags: string) => ({ headers: { traceparent: `00-${TRACE}-00f067aa0ba902b7-${flags}` } });
const db = { ...noDb, run: async () => [] };
const forever = new AbortController().signal;
const delivery = { id: 'n', type: 'a.b', channel: 'webhook', endpointId: null, attempt: 1 };

test('a failed request is exported as such, with the statement that failed, and its trace is the one in the log', async (t) => {
  const collector = await startCollector();
  t.after(collector.close);
  const { tracing, flush } = otlpTracing({ ...defaults, endpoint: `${collector.url}/` }, silent, { timer: false });
  const log = recordingLog();
  await app.request('/ready', {}, testDeps({ tracing, log }));
  await app.request('/nowhere', from('01'), testDeps({ tracing, log }));
  await flush();
  const [statement, ready, nowhere] = collector.spans();
  assert.equal(ready?.name, 'GET /ready');
  assert.equal(ready?.failed, true);
  assert.equal(ready?.attributes['error.type'], '503');
  assert.equal(statement?.parentSpanId, ready?.spanId);
  assert.equal(statement?.failed, true);
  assert.equal(statement?.attributes['error.type'], 'unavailable');
  assert.equal(nowhere?.name, 'GET');
  assert.equal(nowhere?.attributes['http.route'], undefined);
  assert.equal(nowhere?.traceId, TRACE);
  const logged = log.lines.filter(({ msg }) => msg === 'request').map(({ fields }) => fields.traceId);
  assert.deepEqual(logged, [ready?.traceId, TRACE]);
});

test('samplers do what their names say, and attempts what the request did that caused them', async (t) => {
  const collector = await startCollector();
  t.after(collector.close);
  const endpoint = collector.url;
  const recorded = async (own: object, ask: 'root' | 'sampled' | 'unsampled' | 'its attempt') => {
    const { tracing, flush } = otlpTracing({ ...defaults, ...own, endpoint }, silent, { timer: false });
    const before = collector.spans().length;
    if (ask === 'its attempt') {
      tracing.attempt({ ...delivery, traceparent: from('01').headers.traceparent }).end('sent', {});
    } else {
      const init = ask === 'root' ? {} : from(ask === 'sampled' ? '01' : '00');
      await app.request('/health', init, testDeps({ tracing }));
    }
    await flush();
    return collector.spans().length > before;
  };
  const table: [own: object, root: boolean, sampled: boolean, unsampled: boolean, attempt: boolean][] = [
    [{}, true, true, false, true],
    [{ sampler: 'always_off' }, false, true, false, true],
    [{ sampler: 'traceidratio', ratio: 0 }, false, true, false, true],
    [{ sampler: 'traceidratio', ratio: 1 }, true, true, false, true],
    [{ parentBased: false }, true, true, true, true],
    [{ parentBased: false, sampler: 'always_off' }, false, false, false, false],
    [{ parentBased: false, sampler: 'traceidratio', ratio: 0 }, false, false, false, false],
  ];
  for (const [own, ...expected] of table) {
    const found = [];
    for (const ask of ['root', 'sampled', 'unsampled', 'its attempt'] as const) found.push(await recorded(own, ask));
    assert.deepEqual(found, expected, JSON.stringify(own));
  }
});

test('a collector that is away costs a log line, and no request', async () => {
  const log = recordingLog();
  const { tracing, flush } = otlpTracing({ ...defaults, endpoint: 'http://127.0.0.1:1' }, log, { timer: false });
  const response = await app.request('/health', {}, testDeps({ tracing }));
  assert.equal(response.status, 200);
  await flush();
  assert.deepEqual(
    log.lines.map(({ msg }) => msg),
    ['traces not exported'],
  );
});

test('a collector that hangs delays neither requests nor a stop, and keeps a bounded number of spans', async (t) => {
  const collector = await startCollector();
  t.after(collector.close);
  const asked: (() => void)[] = [];
  collector.sink.reply('/v1/traces', (_, response) => void asked.push(() => response.end()));
  const log = recordingLog();
  const { tracing, close } = otlpTracing({ ...defaults, endpoint: collector.url }, log, { timer: true });
  for (let i = 0; i < 2 * MAX_WAITING_SPANS; i++) {
    tracing.attempt({ ...delivery, traceparent: null }).end('sent', {});
  }
  const response = await app.request('/health', {}, testDeps({ tracing }));
  assert.equal(response.status, 200);
  await collector.sink.received('/v1/traces');
  await close(AbortSignal.abort());
  assert.deepEqual(
    log.lines.map(({ msg }) => msg),
    ['traces not exported'],
  );
  await collector.sink.received('/v1/traces', 5);
  const [underWay, ...waited] = collector.exports();
  assert.equal(waited.length, MAX_WAITING_SPANS / 512, `${underWay?.path} and those that waited`);
  for (const answer of asked) answer();
});

test('a redirect is not followed, since the headers are for the collector alone', async (t) => {
  const collector = await startCollector();
  t.after(collector.close);
  collector.sink.reply('/elsewhere/v1/traces', (_, response) =>
    response.writeHead(307, { Location: `${collector.url}/v1/traces` }).end(),
  );
  const log = recordingLog();
  const options = { ...defaults, endpoint: `${collector.url}/elsewhere`, headers: { 'x-key': 'secret' } };
  const { tracing, flush, close } = otlpTracing(options, log, { timer: false });
  await app.request('/health', {}, testDeps({ tracing, db }));
  await flush();
  await close(forever);
  assert.deepEqual(collector.exports(), []);
  assert.deepEqual(
    log.lines.map(({ msg, fields }) => [msg, fields.status]),
    [['traces refused', 307]],
  );
});
