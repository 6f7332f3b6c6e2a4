import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { noDb, recordingLog, testDeps } from '../support/deps.ts';
import { headers, token } from '../support/tokens.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const ID = '019D2F7E-3c00-7c9a-9f40-5d1c2b3a4e5f';
const WHSEC = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const db = { ...noDb, run: async () => [] };

/** Returns the log line of one request, and the id that its response gave it. */
async function lineOf(path: string, init: RequestInit = {}) {
  const log = recordingLog();
  const measured: string[] = [];
  const metrics = { ...testDeps().metrics, requestFinished: (method: string) => void measured.push(method) };
  const response = await app.request(path, { headers: headers(), ...init }, testDeps({ log, db, metrics }));
  const lines = log.lines.filter(({ msg }) => msg === 'request');
  assert.equal(lines.length, 1);
  const given = response.headers.get('x-request-id') as string;
  return { fields: lines[0]?.fields ?? {}, all: JSON.stringify(log.lines), given, measured };
}

describe('the line of a request', () => {
  test('has the path of what is served, and of what a client mistyped', async () => {
    const paths = [
      `${HOOKS}/${ID}`,
      `${HOOKS}/42`,
      '/health',
      '/assets/docs.css',
      '/openapi.json',
      '/',
      '/wp-login.php',
    ];
    for (const path of paths) assert.equal((await lineOf(path)).fields.path, path);
    assert.equal((await lineOf(`${HOOKS}?cursor=a@example.com`)).fields.path, HOOKS);
  });

  test('has no token, secret or address that a client wrote into the path, however it is encoded', async () => {
    const jwt = token();
    const twice = (text: string) => [...text].map((c) => `%25${c.charCodeAt(0).toString(16)}`).join('');
    const once = (text: string) => twice(text).replaceAll('%25', '%');
    for (const secret of [jwt, WHSEC, `Bearer ${jwt}`, 'ada@example.com', 'sk-live-4eC39HqLyjWDarjtT1zdp7dc']) {
      for (const written of [secret, encodeURIComponent(secret), once(secret), twice(secret)]) {
        for (const path of [`/${written}`, `${HOOKS}/${written}`, `/a/${written}/b`, `${HOOKS};t=${written}`]) {
          const { fields, all } = await lineOf(path);
          assert.ok((fields.path as string).split('/').includes('[redacted]'), `${fields.path}`);
          for (const hidden of [secret, written, secret.slice(8, 20)]) assert.ok(!all.includes(hidden), all);
        }
      }
    }
  });

  test('has no subject that may be an address or a secret', async () => {
    const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl';
    for (const sub of ['ada@example.com', 'ada%40example.com', WHSEC, jwt, `Bearer ${jwt}`, 'bearer abc']) {
      const { fields, all } = await lineOf(HOOKS, { headers: headers({ claims: { sub } }) });
      assert.equal(fields.sub, '[redacted]');
      assert.ok(!all.includes(sub));
    }
    for (const sub of ['alice', 'auth0|5f7c8ec7', 'https://issuer.example/people/7', 'service:billing']) {
      assert.equal((await lineOf(HOOKS, { headers: headers({ claims: { sub } }) })).fields.sub, sub);
    }
  });

  test('has a name of its own where the one that the client sent may be a secret', async () => {
    const payload = token().split('.')[1] as string;
    for (const id of [WHSEC, payload, `x-${payload}`, 'Bearer_abc', token(), 'a@b']) {
      const { fields, all, given } = await lineOf('/health', { headers: { 'X-Request-Id': id } });
      assert.match(given, /^[0-9a-f-]{36}$/);
      assert.equal(fields.requestId, given);
      assert.ok(!all.includes(id));
    }
    assert.equal((await lineOf('/health', { headers: { 'X-Request-Id': 'order-4711=A_b' } })).given, 'order-4711=A_b');
  });

  test('has nothing of a traceparent but the ids of a well-formed one', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const traceparent = `01-${traceId}-00f067aa0ba902b7-01-${WHSEC}`;
    const { fields, all } = await lineOf('/health', { headers: { traceparent, tracestate: `a=${WHSEC}` } });
    assert.equal(fields.traceId, traceId);
    assert.ok(!all.includes(WHSEC));
    for (const bad of [WHSEC, token(), `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
      const made = await lineOf('/health', { headers: { traceparent: bad } });
      assert.match(made.fields.traceId as string, /^[0-9a-f]{32}$/);
      assert.ok(!made.all.includes(bad));
    }
  });

  test('calls a method that a client made up _OTHER, and so do the metrics', async () => {
    const { fields, all, measured } = await lineOf(HOOKS, { method: 'WHSEC_MFKQ9R8G' });
    assert.equal(fields.method, '_OTHER');
    assert.deepEqual(measured, ['_OTHER']);
    assert.ok(!all.includes('WHSEC'));
  });
});
