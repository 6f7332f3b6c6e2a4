import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import type { Attempt } from '../../src/dispatcher/channels/channel.ts';
import { type Answer, SendError, type SendRequest } from '../../src/dispatcher/channels/send.ts';
import { type Sign, webCryptoSign } from '../../src/dispatcher/channels/sign.ts';
import { webhookChannel } from '../../src/dispatcher/channels/webhook.ts';
import type { Delivery } from '../../src/dispatcher/claims.ts';
import { retryDelay } from '../../src/dispatcher/retry.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { socketSend } from '../../src/platform/send-sockets.ts';
import { nodeSign } from '../../src/platform/sign-node.ts';

const secrets = createSecretBox(randomBytes(32).toString('base64'));
const secret = newSecret();
const previous = newSecret();
const signers: [name: string, sign: Sign][] = [
  ['node:crypto', nodeSign()],
  ['WebCrypto', webCryptoSign()],
];

function newSecret(bytes = 32): string {
  return `whsec_${randomBytes(bytes).toString('base64')}`;
}

const sealed = (...all: string[]) => Promise.all(all.map((each) => secrets.seal(each)));

type Endpoint = NonNullable<Delivery['endpoint']>;

async function delivery(endpoint: Partial<Endpoint> | null = {}): Promise<Delivery> {
  const body =
    '{"type":"order.sent","timestamp":"2026-11-20T10:00:00.000Z","data":{"name":"Zoë 🦊 \\u0000 </script>"}}';
  return {
    id: '019a9f00-0000-7000-8000-000000000001',
    lease: '00000000-0000-4000-8000-000000000000',
    attempt: 1,
    type: 'order.sent',
    body,
    channel: 'webhook',
    recipient: null,
    traceparent: null,
    endpointId: null,
    endpoint: endpoint && {
      url: 'https://example.com/hooks?a=1',
      status: 'enabled',
      secrets: [await secrets.seal(secret)],
      ...endpoint,
    },
  };
}

/** Delivers once, to a receiver that gives this answer; the requests that it saw are in `seen`. */
async function attempt(
  answer: Partial<Answer> | Error,
  {
    endpoint,
    sign = nodeSign(),
    now = new Date(),
  }: { endpoint?: Partial<Endpoint> | null; sign?: Sign; now?: Date } = {},
): Promise<{ result: Attempt; seen: SendRequest[] }> {
  const seen: SendRequest[] = [];
  const channel = webhookChannel({
    secrets,
    sign,
    now: () => now,
    send: async (request) => {
      seen.push(request);
      if (answer instanceof Error) throw answer;
      return { status: 200, retryAfter: null, ...answer };
    },
  });
  return { result: await channel(await delivery(endpoint)), seen };
}

function verified(secret: string, { body, headers }: SendRequest): unknown {
  return new Webhook(secret).verify(body, headers);
}

test('without a span, the traceparent of what caused the message is passed on, and signed it is not', async () => {
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
  const seen: SendRequest[] = [];
  const send = async (request: SendRequest) => {
    seen.push(request);
    return { status: 204, retryAfter: null };
  };
  const channel = webhookChannel({ secrets, sign: nodeSign(), now: () => new Date(0), send });
  const caused = await delivery();
  await channel({ ...caused, traceparent });
  await channel(caused);
  const [traced, alone] = seen as [SendRequest, SendRequest];
  assert.deepEqual(traced, { ...alone, headers: { ...alone.headers, traceparent } });
});

for (const [name, sign] of signers) {
  test(`${name}: the signature verifies with standardwebhooks, and by hand`, async () => {
    for (const bytes of [24, 32, 64]) {
      const secret = newSecret(bytes);
      const now = new Date();
      const { result, seen } = await attempt({}, { endpoint: { secrets: [await secrets.seal(secret)] }, sign, now });
      assert.deepEqual(result, { ok: true, status: 200 });
      const [request] = seen as [SendRequest];
      const { id, body } = await delivery();
      assert.equal(request.url, 'https://example.com/hooks?a=1');
      assert.equal(request.body, body);
      assert.deepEqual(verified(secret, request), JSON.parse(body));
      const timestamp = String(Math.floor(now.getTime() / 1000));
      const signature = createHmac('sha256', Buffer.from(secret.slice(6), 'base64'))
        .update(Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body)]))
        .digest('base64');
      assert.deepEqual(request.headers, {
        'content-type': 'application/json',
        'user-agent': 'Keelson-Webhooks/1',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': `v1,${signature}`,
      });
      assert.throws(() => verified(newSecret(), request));
      assert.throws(() => verified(secret, { ...request, body: `${body} ` }));
    }
  });

  test(`${name}: while secrets are rotated all of them sign, the current one first`, async () => {
    const all = [secret, previous, ...Array.from({ length: 9 }, () => newSecret())];
    const { seen } = await attempt({}, { endpoint: { secrets: await sealed(...all) }, sign });
    const [request] = seen as [SendRequest];
    const signatures = (request.headers['webhook-signature'] as string).split(' ');
    assert.equal(signatures.length, all.length);
    all.forEach((each, n) => {
      assert.match(signatures[n] as string, /^v1,[\w+/]{43}=$/);
      assert.deepEqual(verified(each, request), JSON.parse(request.body));
      const alone = { ...request, headers: { ...request.headers, 'webhook-signature': signatures[n] as string } };
      assert.ok(verified(each, alone));
      assert.throws(() => verified(all[(n + 1) % all.length] as string, alone));
    });
  });
}

test('over the wire: a receiver verifies what arrives, byte for byte', async () => {
  const seen: unknown[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const headers = request.headers as Record<string, string>;
    for (const each of [secret, previous]) seen.push(new Webhook(each).verify(Buffer.concat(chunks), headers));
    response.writeHead(202).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { send, close } = socketSend({ allowPrivate: true, timeoutMs: 30_000 });
  try {
    const channel = webhookChannel({ send, secrets, sign: nodeSign(), now: () => new Date() });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const sent = await delivery({ url, secrets: await sealed(secret, previous) });
    assert.deepEqual(await channel(sent), { ok: true, status: 202 });
    assert.deepEqual(seen, [JSON.parse(sent.body), JSON.parse(sent.body)]);
  } finally {
    await close();
    server.close();
  }
});

test('a repeat carries the same id and a fresh timestamp', async () => {
  const [one, two] = await Promise.all(
    [1_000_000_000_999, 1_000_000_001_000].map((ms) => attempt({}, { now: new Date(ms) })),
  );
  const headers = [one, two].map((each) => each?.seen[0]?.headers);
  assert.deepEqual(
    headers.map((each) => each?.['webhook-timestamp']),
    ['1000000000', '1000000001'],
  );
  assert.equal(headers[0]?.['webhook-id'], headers[1]?.['webhook-id']);
  assert.notEqual(headers[0]?.['webhook-signature'], headers[1]?.['webhook-signature']);
});

test('what an answer means', async () => {
  const now = new Date('2026-11-20T10:00:00Z');
  const failed = (status: number, error: string, rest = {}) => ({ ok: false, status, error, ...rest });
  const again = (status: number, retryAfterMs?: number) => failed(status, `HTTP ${status}`, { retryAfterMs });
  const table: [answer: Partial<Answer>, result: unknown][] = [
    [{ status: 200 }, { ok: true, status: 200 }],
    [{ status: 204 }, { ok: true, status: 204 }],
    [
      { status: 299, retryAfter: '60' },
      { ok: true, status: 299 },
    ],
    [{ status: 301 }, failed(301, 'redirect refused', { retryAfterMs: undefined })],
    [{ status: 304 }, failed(304, 'redirect refused', { retryAfterMs: undefined })],
    [{ status: 307, retryAfter: '60' }, failed(307, 'redirect refused', { retryAfterMs: 60_000 })],
    [{ status: 400 }, again(400)],
    [{ status: 404 }, again(404)],
    [{ status: 410, retryAfter: '60' }, failed(410, 'HTTP 410', { final: true })],
    [{ status: 429, retryAfter: '60' }, again(429, 60_000)],
    [{ status: 500 }, again(500)],
    [{ status: 500, retryAfter: '1' }, again(500, 1000)],
    [{ status: 503, retryAfter: '0' }, again(503, 0)],
    [{ status: 503, retryAfter: 'Fri, 20 Nov 2026 10:01:00 GMT' }, again(503, 60_000)],
    [{ status: 503, retryAfter: 'Fri, 20 Nov 2015 10:00:00 GMT' }, again(503, 0)],
    [{ status: 503, retryAfter: 'soon' }, again(503)],
    [{ status: 999 }, again(999)],
  ];
  for (const [answer, expected] of table) {
    assert.deepEqual((await attempt(answer, { now })).result, expected, JSON.stringify(answer));
  }
});

test('a Retry-After of 30 years brings it back within a day', async () => {
  for (const retryAfter of ['999999999', '9'.repeat(400)]) {
    const { result } = await attempt({ status: 429, retryAfter });
    assert.ok(!result.ok && result.retryAfterMs !== undefined);
    assert.equal(retryDelay(1, 10, result.retryAfterMs, 0.5), 24 * 3600 * 1000);
  }
});

test('no answer at all is a failure with its reason; a defect is not hidden', async () => {
  const { result } = await attempt(new SendError('connection refused'));
  assert.deepEqual(result, { ok: false, status: null, error: 'connection refused' });
  await assert.rejects(attempt(new TypeError('x is not a function')), TypeError);
});

test('an endpoint that is deleted or disabled is not called; one that is paused is', async () => {
  const final = { ok: false, status: null, final: true };
  const deleted = await attempt({}, { endpoint: null });
  assert.deepEqual(deleted, { result: { ...final, error: 'the endpoint was deleted' }, seen: [] });
  const disabled = await attempt({}, { endpoint: { status: 'disabled' } });
  assert.deepEqual(disabled, { result: { ...final, error: 'the endpoint is disabled' }, seen: [] });
  const paused = await attempt({}, { endpoint: { status: 'paused' } });
  assert.deepEqual(paused.result, { ok: true, status: 200 });
});

test('a secret that cannot be opened sends nothing, and says so to the dispatcher alone', async () => {
  const foreign = await createSecretBox(randomBytes(32).toString('base64')).seal(secret);
  await assert.rejects(attempt({}, { endpoint: { secrets: [foreign] } }), /an unknown key/);
  const noSecret = await secrets.seal('swordfish');
  await assert.rejects(attempt({}, { endpoint: { secrets: [noSecret] } }), (error: Error) => {
    return error.message.includes('must start with whsec_') && !error.message.includes('swordfish');
  });
});

test('opened secrets are remembered, ten thousand at most', async () => {
  const opened: string[] = [];
  const channel = webhookChannel({
    secrets: {
      open: async (sealed) => {
        opened.push(sealed);
        return secret;
      },
    },
    sign: () => 'signature',
    now: () => new Date(),
    send: async () => ({ status: 200, retryAfter: null }),
  });
  const ten = (n: number) => Array.from({ length: 10 }, (_, i) => `sealed ${10 * n + i}`);
  const deliver = async (n: number) => channel(await delivery({ secrets: ten(n) }));
  for (let n = 0; n < 1000; n++) await deliver(n);
  await Promise.all([deliver(0), deliver(999)]);
  assert.equal(opened.length, 10_000);
  await Promise.all([deliver(1000), deliver(1000)]);
  const before = opened.length;
  await deliver(999);
  assert.equal(opened.length, before);
  await deliver(0);
  assert.deepEqual(opened.slice(before), ten(0), 'the oldest were forgotten');
});
