import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { resendEmail } from '../../src/dispatcher/channels/resend.ts';
import type { Delivery } from '../../src/dispatcher/claims.ts';

const API_KEY = 're_test_key';

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Resend as documented: what it sent, once per idempotency key. `answers` replace the next answers. */
async function resend() {
  const sent = new Map<string, { payload: string; id: string }>();
  const state = { url: '', sent, answers: [] as RequestListener[], headers: [] as IncomingMessage['headers'][] };
  state.url = await listen(async (request, response) => {
    let payload = '';
    for await (const chunk of request) payload += chunk;
    state.headers.push(request.headers);
    const answer = state.answers.shift();
    if (answer) answer(request, response);
    else reply(response, ...accept(request, payload, sent));
  });
  return state;
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function accept(
  { method, url, headers }: IncomingMessage,
  payload: string,
  sent: Map<string, { payload: string; id: string }>,
): [status: number, body: unknown] {
  const refuse = (statusCode: number, name: string): [number, unknown] => [
    statusCode,
    { statusCode, name, message: `about ${payload}` },
  ];
  const key = headers['idempotency-key'];
  if (!headers['user-agent']) return refuse(403, 'error code: 1010');
  if (!headers.authorization) return refuse(401, 'missing_api_key');
  if (headers.authorization !== `Bearer ${API_KEY}`) return refuse(403, 'invalid_api_key');
  if (url !== '/emails') return refuse(404, 'not_found');
  if (method !== 'POST') return refuse(405, 'method_not_allowed');
  if (typeof key !== 'string' || key.length < 1 || key.length > 256) return refuse(400, 'invalid_idempotency_key');
  if (headers['content-type'] !== 'application/json') return refuse(422, 'missing_required_field');
  const known = sent.get(key);
  if (known && known.payload !== payload) return refuse(409, 'invalid_idempotent_request');
  if (known) return [200, { id: known.id }];
  const { from, to, subject, text, ...rest } = JSON.parse(payload);
  if (!from || !subject || !text || !Array.isArray(to)) return refuse(422, 'missing_required_field');
  if (Object.keys(rest).length > 0 || !to.every((each: string) => /^[^@\s]+@[^@\s]+$/.test(each))) {
    return refuse(422, 'invalid_parameter');
  }
  const id = crypto.randomUUID();
  sent.set(key, { payload, id });
  return [200, { id }];
}

function delivery(own: Partial<Delivery> = {}): Delivery {
  return {
    id: crypto.randomUUID(),
    lease: crypto.randomUUID(),
    attempt: 1,
    type: 'order.sent',
    body: JSON.stringify({ type: 'order.sent', data: { name: 'Ada' } }),
    channel: 'email',
    recipient: 'ada@example.com',
    traceparent: null,
    endpointId: null,
    endpoint: null,
    ...own,
  };
}

const channelTo = (url: string, own: { apiKey?: string; timeoutMs?: number } = {}) =>
  resendEmail({ apiKey: API_KEY, url, from: 'Keelson <hello@example.com>', timeoutMs: 2000, ...own });

test('an email reaches its recipient, and a repeat of the notification is still one email', async () => {
  const { url, sent, headers } = await resend();
  const welcome = delivery();
  for (const base of [url, `${url}/`]) {
    assert.deepEqual(await channelTo(base)(welcome), { ok: true, status: 200 });
  }
  assert.deepEqual([...sent.keys()], [welcome.id]);
  assert.deepEqual(JSON.parse(sent.get(welcome.id)?.payload as string), {
    from: 'Keelson <hello@example.com>',
    to: ['ada@example.com'],
    subject: 'order.sent',
    text: 'name: Ada\n',
  });
  assert.deepEqual(
    headers.map((each) => [each.authorization, each['idempotency-key'], each['user-agent']]),
    Array.from({ length: 2 }, () => [`Bearer ${API_KEY}`, welcome.id, 'Keelson/1']),
  );
});

test('an answer that was lost is made good by the repeat, with one email sent', async () => {
  const { url, sent, answers } = await resend();
  const channel = channelTo(url);
  const welcome = delivery();
  answers.push((_, response) => response.destroy());
  assert.deepEqual(await channel(welcome), { ok: false, status: null, error: 'connection closed' });
  assert.deepEqual(await channel(welcome), { ok: true, status: 200 });
  assert.equal(sent.size, 1);
});

test('the same notification with another text is given up, not sent twice', async () => {
  const { url, sent } = await resend();
  const first = delivery();
  await channelTo(url)(first);
  const other = { ...first, body: JSON.stringify({ type: 'order.sent', data: { name: 'Eve' } }) };
  const result = await channelTo(url)(other);
  assert.deepEqual(result, { ok: false, status: 409, error: 'HTTP 409', final: true });
  assert.equal(sent.size, 1);
});

test('what an answer means', async () => {
  const { url, answers } = await resend();
  const fails = (status: number, rest: object) => ({ ok: false, status, error: `HTTP ${status}`, ...rest });
  const final = { final: true };
  const table: [status: number, headers: Record<string, string>, name: string, result: unknown][] = [
    [201, {}, '', { ok: true, status: 201 }],
    [302, { location: '/elsewhere' }, '', { ...fails(302, { retryAfterMs: undefined }), error: 'redirect refused' }],
    [307, { 'retry-after': '5' }, '', { ...fails(307, { retryAfterMs: 5000 }), error: 'redirect refused' }],
    [400, {}, 'validation_error', fails(400, final)],
    [404, { 'retry-after': '9' }, 'not_found', fails(404, final)],
    [409, {}, 'concurrent_idempotent_requests', fails(409, { retryAfterMs: undefined })],
    [409, { 'retry-after': '2' }, 'concurrent_idempotent_requests', fails(409, { retryAfterMs: 2000 })],
    [409, {}, 'invalid_idempotent_request', fails(409, final)],
    [422, {}, 'invalid_parameter', fails(422, final)],
    [429, { 'retry-after': '7' }, 'rate_limit_exceeded', fails(429, { retryAfterMs: 7000 })],
    [429, {}, 'daily_quota_exceeded', fails(429, { retryAfterMs: undefined })],
    [500, {}, 'internal_server_error', fails(500, { retryAfterMs: undefined })],
    [503, { 'retry-after': '60' }, 'service_unavailable', fails(503, { retryAfterMs: 60_000 })],
  ];
  for (const [status, headers, name, expected] of table) {
    answers.push((_, response) => response.writeHead(status, headers).end(JSON.stringify({ name, message: 'ada@…' })));
    assert.deepEqual(await channelTo(url)(delivery()), expected, `${status} ${name}`);
  }
});

test('a key that the operator has yet to put right is no reason to give an email up', async () => {
  const { url } = await resend();
  const result = await channelTo(url, { apiKey: 're_wrong' })(delivery());
  assert.deepEqual(result, { ok: false, status: 403, error: 'HTTP 403', retryAfterMs: undefined });
});

test('a refusal says nothing of the address or of what the provider wrote', async () => {
  const { url } = await resend();
  const result = await channelTo(url)(delivery({ recipient: 'not an address' }));
  assert.deepEqual(result, { ok: false, status: 422, error: 'HTTP 422', final: true });
});

test('without a recipient nothing is sent', async () => {
  const { url, headers } = await resend();
  const result = await channelTo(url)(delivery({ recipient: null }));
  assert.deepEqual(result, { ok: false, status: null, error: 'there is no recipient', final: true });
  assert.equal(headers.length, 0);
});

test('an answer without end is read to 16 KB, and its status decides', async () => {
  const { url, answers } = await resend();
  let written = 0;
  const closed = new Promise<void>((resolve) => {
    answers.push((_, response) => {
      response.writeHead(200);
      const write = () => {
        while (!response.destroyed && response.write('x'.repeat(1024))) written++;
        response.once('drain', write);
      };
      write();
      response.once('close', resolve);
    });
  });
  assert.deepEqual(await channelTo(url)(delivery()), { ok: true, status: 200 });
  await closed;
  assert.ok(written < 16 * 1024, `${written} KB`);
});

test('a provider that does not answer is a failure in time; one that is away, at once', async () => {
  const { url, answers } = await resend();
  answers.push(() => {});
  const late = await channelTo(url, { timeoutMs: 100 })(delivery());
  assert.deepEqual(late, { ok: false, status: null, error: 'timed out' });
  const away = await channelTo('http://127.0.0.1:1')(delivery());
  assert.equal(away.ok, false);
});
