import assert from 'node:assert/strict';
import { getEventListeners, once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createClient, type Item, Problem } from '../src/client.ts';
import { newEndpoint, newNotice, unique } from './conformance/target.ts';
import { createDatabase } from './support/databases.ts';
import { query } from './support/postgres-server.ts';
import { type Service, startService } from './support/service.ts';
import { token } from './support/tokens.ts';

const SOME_ID = '01900000-0000-7000-8000-000000000000';

/** What happens to one request: forwarded as it is, its response lost after it was made, or answered instead. */
type Fate = 'pass' | 'drop' | 'cut' | ((response: ServerResponse) => void);

/** Starts a proxy in front of the service that treats each request as `fate` says. */
async function startProxy(to: string, fate: (count: number, request: IncomingMessage) => Fate) {
  const seen: IncomingMessage[] = [];
  const server = createServer((incoming, outgoing) => {
    seen.push(incoming);
    const what = fate(seen.length, incoming);
    if (typeof what === 'function') return void incoming.resume().on('end', () => what(outgoing));
    const upstream = request(to + incoming.url, { method: incoming.method, headers: incoming.headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => {
        if (what === 'drop') return outgoing.destroy();
        outgoing.writeHead(answer.statusCode as number, answer.headers);
        const body = Buffer.concat(chunks);
        if (what === 'pass') return outgoing.end(body);
        outgoing.write(body.subarray(0, 10), () => outgoing.destroy());
      });
    });
    incoming.pipe(upstream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe('the typed client', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '100000' });
  });
  after(async () => {
    await service.stop();
    await database.drop();
  });

  const client = (options = {}) => createClient(service.url, { token: token(), ...options });
  const count = async (url: string) =>
    (await query(database.name, 'select count(*)::int as n from webhook_endpoints where url = $1', [url]))[0]?.n;
  const told = async (email: string) =>
    (await query(database.name, 'select count(*)::int as n from notifications where recipient = $1', [email]))[0]?.n;

  /** Creates a client behind a proxy that applies `fate` to each request. */
  async function behind(fate: (count: number, request: IncomingMessage) => Fate, options = {}) {
    const proxy = await startProxy(service.url, fate);
    const { webhookEndpoints, notifications } = createClient(proxy.url, { token: token(), ...options });
    return { webhookEndpoints, notifications, seen: proxy.seen, close: proxy.close };
  }

  test('an endpoint is created, read, replaced, found and removed, with the types of the app', async () => {
    const { webhookEndpoints } = client();
    const { secret: _, ...endpoint } = await webhookEndpoints.create(newEndpoint());
    const read: Item<'webhookEndpoints'> = await webhookEndpoints.get(endpoint.id);
    assert.deepEqual(read, endpoint);
    // @ts-expect-error: an endpoint has no such member
    assert.equal(endpoint.nonsense, undefined);
    // @ts-expect-error: an endpoint needs events
    await assert.rejects(webhookEndpoints.create({ url: 'https://example.com/' }), Problem);

    const change = { ...newEndpoint(), description: 'Another' };
    const changed = await webhookEndpoints.replace(endpoint.id, change, { version: endpoint.version });
    assert.equal(changed.version, 2);
    const found: Item<'webhookEndpoints'>[] = (await webhookEndpoints.page({ limit: 100 })).data;
    assert.deepEqual(
      found.find(({ id }) => id === endpoint.id),
      changed,
    );
    await webhookEndpoints.remove(endpoint.id, { version: changed.version });
    await assert.rejects(
      webhookEndpoints.get(endpoint.id),
      (error) => error instanceof Problem && error.code === 'not-found',
    );
  });

  test('every item of a list comes once and in order, however many pages it takes', async () => {
    const { webhookEndpoints } = client();
    const mine: string[] = [];
    for (let i = 0; i < 7; i++) mine.push((await webhookEndpoints.create(newEndpoint())).id);
    const seen: string[] = [];
    for await (const { id } of webhookEndpoints.list({ limit: 2 })) seen.push(id);
    assert.deepEqual(
      seen.filter((id) => mine.includes(id)),
      mine,
    );
    assert.equal(new Set(seen).size, seen.length);
  });

  test('endpoints and notifications have all their operations', async () => {
    const { webhookEndpoints, notifications, actions, stats } = client();
    const made = await webhookEndpoints.create({ url: 'http://127.0.0.1:9/', events: ['nothing.ever'] });
    assert.match(made.secret, /^whsec_/);
    const rotated = await webhookEndpoints.rotateSecret(made.id);
    assert.notEqual(rotated.secret, made.secret);
    const input = { url: made.url, events: ['*' as const] };
    const changed = await webhookEndpoints.replace(made.id, input, { version: rotated.version });
    assert.deepEqual(await webhookEndpoints.get(made.id), changed);
    const asked = await webhookEndpoints.test(made.id);
    assert.equal(asked.type, 'webhook.test');
    await webhookEndpoints.remove(made.id);

    const type = `test.t${unique()}`;
    const told = await notifications.create({ ...newNotice(), type, data: { any: ['thing'] } });
    assert.equal((await notifications.get(told.id)).type, type);
    const types: string[] = [];
    for await (const each of notifications.list({ channel: 'email' })) types.push(each.type);
    assert.ok(types.includes(type));
    for (const verb of ['redrive', 'cancel'] as const) {
      await assert.rejects(notifications[verb](SOME_ID), ({ status }: Problem) => status === 404);
    }
    const action = await notifications.cancel({ body: { filter: { type } }, idempotencyKey: unique() });
    assert.deepEqual([action.action, action.filter], ['notifications.cancel', { type }]);
    assert.equal((await actions.get(action.id)).id, action.id);
    for await (const each of actions.list()) assert.ok(each.createdAt <= action.createdAt);
    await assert.rejects(actions.stop(SOME_ID), ({ status }: Problem) => status === 404);
    assert.equal((await stats.read()).minutes.length, 60);
    const untyped = notifications.cancel as unknown as (...none: unknown[]) => Promise<unknown>;
    for (const id of ['', undefined, null, 7]) await assert.rejects(async () => untyped(id), TypeError);
  });

  test('a problem is an error that says all that the answer said', async () => {
    const { webhookEndpoints } = client();
    const bad = await webhookEndpoints.create({ url: '', events: [] }).catch((error) => error);
    assert.ok(bad instanceof Problem);
    assert.equal(bad.code, 'validation-failed');
    assert.equal(bad.status, 422);
    assert.equal(bad.uncertain, false);
    assert.match(bad.requestId ?? '', /^[\w-]+$/);
    assert.deepEqual(bad.errors.map((error) => 'pointer' in error && error.pointer).sort(), ['#/events', '#/url']);
    const anonymous = await createClient(service.url, { token: 'nonsense' })
      .webhookEndpoints.get(SOME_ID)
      .catch((error) => error);
    assert.equal(anonymous.code, 'unauthorized');
  });

  test('a token that expires can be had anew for each request', async () => {
    let asked = 0;
    const fresh = async () => token({ claims: { sub: `renewed-${++asked}` } });
    const { webhookEndpoints } = client({ token: fresh });
    await webhookEndpoints.page();
    await webhookEndpoints.page();
    assert.equal(asked, 2);
  });

  test('an answer that is lost after the commit, whole or in part, leads to one effect', async (t) => {
    for (const fate of ['drop', 'cut'] as const) {
      const lossy = await behind((n) => (n <= 2 ? fate : 'pass'));
      t.after(lossy.close);
      const keys = () => new Set(lossy.seen.map(({ headers }) => headers['idempotency-key'])).size;
      const body = newEndpoint();
      const endpoint = await lossy.webhookEndpoints.create(body);
      assert.equal(endpoint.url, body.url);
      assert.deepEqual([lossy.seen.length, keys()], [3, 1]);
      assert.equal(await count(body.url), 1);
      const another = await lossy.webhookEndpoints.create(newEndpoint());
      assert.notEqual(another.id, endpoint.id);

      const also = await behind((n) => (n <= 2 ? fate : 'pass'));
      t.after(also.close);
      const notice = newNotice();
      await also.notifications.create(notice);
      assert.equal(also.seen.length, 3);
      assert.equal(await told(notice.email), 1);
    }
  });

  test('an answer to a change that is lost is not taken for the change of another', async (t) => {
    const { id, version } = await client().webhookEndpoints.create(newEndpoint());
    const lossy = await behind((n) => (n % 2 === 1 ? 'drop' : 'pass'));
    t.after(lossy.close);
    const change = { ...newEndpoint(), description: 'Only mine' };
    const conflict = await lossy.webhookEndpoints.replace(id, change, { version }).catch((error) => error);
    assert.equal(conflict.code, 'precondition-failed');
    assert.equal(conflict.uncertain, true);
    assert.equal((await client().webhookEndpoints.get(id)).description, 'Only mine');
    await lossy.webhookEndpoints.remove(id);
    await assert.rejects(client().webhookEndpoints.get(id), ({ status }: Problem) => status === 404);
  });

  test('what might have an effect twice is not repeated', async (t) => {
    const { id } = await client().webhookEndpoints.create(newEndpoint());
    const lossy = await behind(() => 'drop');
    t.after(lossy.close);
    const put = lossy.webhookEndpoints.replace(id, newEndpoint());
    await assert.rejects(put, TypeError);
    assert.equal(lossy.seen.length, 1);
    await assert.rejects(lossy.webhookEndpoints.get(id), TypeError);
    assert.equal(lossy.seen.length, 1 + 4);
  });

  test('a server that asks for time gets it, and one that asks for an hour ends the attempt', async (t) => {
    const busy = (status: number, after: string) => (response: ServerResponse) =>
      void response
        .writeHead(status, { 'Retry-After': after, 'Content-Type': 'application/problem+json' })
        .end(`{"type":"https://x.example/problems/unavailable","title":"Busy","status":${status}}`);
    for (const status of [429, 503]) {
      const once = await behind((n) => (n === 1 ? busy(status, '1') : 'pass'));
      t.after(once.close);
      const begun = performance.now();
      await once.webhookEndpoints.create(newEndpoint());
      const took = performance.now() - begun;
      assert.ok(took >= 1000, `${took} ms`);
    }
    const never = await behind(() => busy(503, '3600'));
    t.after(never.close);
    const error = await never.webhookEndpoints.page().catch((problem) => problem);
    assert.equal(error.code, 'unavailable');
    assert.equal(never.seen.length, 1);
  });

  test('looking at a client, or giving no id, sends nothing', async (t) => {
    const lossy = await behind(() => 'pass');
    t.after(lossy.close);
    const { webhookEndpoints } = lossy;
    JSON.stringify({ webhookEndpoints });
    await Promise.resolve(webhookEndpoints);
    assert.throws(() => webhookEndpoints.get(''), TypeError);
    assert.throws(() => webhookEndpoints.rotateSecret(''), TypeError);
    assert.throws(() => webhookEndpoints.remove('..'), TypeError);
    assert.equal(lossy.seen.length, 0);
  });

  test('an id is never another path', async () => {
    const { webhookEndpoints } = client();
    const { id } = await webhookEndpoints.create(newEndpoint());
    for (const odd of [`../webhook-endpoints/${id}`, `${id}?x`, `${id}#x`, `x/../${id}`]) {
      await assert.rejects(webhookEndpoints.get(odd), ({ code }: Problem) => code === 'not-found', odd);
    }
    const isRefused = ({ status }: Problem) => status === 404;
    await assert.rejects(webhookEndpoints.rotateSecret(`${id}/pause?`), isRefused);
    assert.equal((await webhookEndpoints.get(id)).status, 'enabled');
  });

  test('an endpoint is paused and enabled at the version that was seen, or not at all', async () => {
    const { webhookEndpoints } = client();
    const { id, version } = await webhookEndpoints.create(newEndpoint());
    const paused = await webhookEndpoints.pause(id, { version });
    const late = webhookEndpoints.enable(id, { version });
    await assert.rejects(late, ({ code }: Problem) => code === 'precondition-failed');
    assert.equal((await webhookEndpoints.enable(id, { version: paused.version })).status, 'enabled');
  });

  test('a refusal that wrote nothing leaves no doubt about what was there before', async (t) => {
    const { id } = await client().webhookEndpoints.create(newEndpoint());
    await client().webhookEndpoints.remove(id);
    const away = await behind((n) =>
      n === 1
        ? (response) =>
            void response
              .writeHead(503, { 'Content-Type': 'application/problem+json' })
              .end('{"type":"https://x.example/problems/unavailable","title":"Away","status":503}')
        : 'pass',
    );
    t.after(away.close);
    await assert.rejects(away.webhookEndpoints.remove(id), ({ code, uncertain }: Problem) => {
      assert.deepEqual([code, uncertain], ['not-found', false]);
      return true;
    });
    assert.equal(away.seen.length, 2);
  });

  test('a call is given up when its signal says so, between attempts too', async (t) => {
    const lossy = await behind(() => 'drop', { retries: 1000 });
    t.after(lossy.close);
    const controller = new AbortController();
    const call = lossy.webhookEndpoints.get(SOME_ID, { signal: controller.signal });
    setImmediate(() => controller.abort(new Error('enough')));
    await assert.rejects(call, /enough|abort/);
    const seen = lossy.seen.length;
    const gone = AbortSignal.abort(new Error('at once'));
    await assert.rejects(lossy.webhookEndpoints.get(SOME_ID, { signal: gone }), /at once/);
    assert.equal(lossy.seen.length, seen);
  });

  test('a signal that outlives many calls and their retries is left as it was', async (t) => {
    const lossy = await behind((n) => (n <= 2 ? 'drop' : 'pass'));
    t.after(lossy.close);
    const { signal } = new AbortController();
    await lossy.webhookEndpoints.page({}, { signal });
    // Node's fetch leaves one per request, until it is collected.
    assert.ok(getEventListeners(signal, 'abort').length <= lossy.seen.length);
  });

  test('a proxy that says it sends a problem, and does not, is asked once, and is a Problem', async (t) => {
    const type = { 'Content-Type': 'application/problem+json' };
    for (const sent of [
      '',
      'null',
      '<h1>No</h1>',
      '{"type":7,"title":{},"detail":[],"requestId":0,"errors":{"x":1}}',
    ]) {
      const odd = await behind(() => (response) => void response.writeHead(422, type).end(sent));
      t.after(odd.close);
      const error = await odd.webhookEndpoints.create(newEndpoint()).catch((problem) => problem);
      assert.ok(error instanceof Problem, sent);
      const { status, title, detail, requestId, errors } = error;
      assert.deepEqual([status, title, detail, requestId, errors], [422, 'HTTP 422', '', undefined, []]);
      assert.equal(odd.seen.length, 1);
    }
  });

  test('a success that is not JSON is a Problem', async (t) => {
    const odd = await behind(() => (response) => void response.end('<h1>Welcome</h1>'));
    t.after(odd.close);
    await assert.rejects(odd.webhookEndpoints.get(SOME_ID), ({ status, title }: Problem) => {
      assert.deepEqual([status, title], [200, 'The response is not JSON']);
      return true;
    });
  });

  test("a proxy's 404 to a repeated removal is no sign that something was removed", async (t) => {
    const { id } = await client().webhookEndpoints.create(newEndpoint());
    const away = await behind((n) => (response) => void response.writeHead(n === 1 ? 502 : 404).end('No backend'));
    t.after(away.close);
    await assert.rejects(away.webhookEndpoints.remove(id), ({ status }: Problem) => status === 404);
  });

  test('a date in Retry-After counts like seconds', async (t) => {
    const date = new Date(Date.now() + 600_000).toUTCString();
    const busy = await behind(() => (response) => void response.writeHead(503, { 'Retry-After': date }).end());
    t.after(busy.close);
    await assert.rejects(busy.webhookEndpoints.page(), ({ status }: Problem) => status === 503);
    assert.equal(busy.seen.length, 1);
  });

  test('each attempt has a token of its own', async (t) => {
    let tokens = 0;
    const lossy = await behind((n) => (n <= 2 ? 'drop' : 'pass'), {
      token: () => token({ claims: { jti: `${++tokens}` } }),
    });
    t.after(lossy.close);
    await lossy.webhookEndpoints.page();
    const sent = lossy.seen.map(({ headers }) => headers.authorization);
    assert.equal(new Set(sent).size, 3);
  });

  test('a write does not follow a redirect, which would make it a read', async (t) => {
    const moved = await behind((n) =>
      n === 1 ? (response) => void response.writeHead(301, { Location: '/api/v1/webhook-endpoints' }).end() : 'pass',
    );
    t.after(moved.close);
    await assert.rejects(moved.webhookEndpoints.create(newEndpoint()), ({ status }: Problem) => status === 301);
    assert.equal(moved.seen.length, 1);
  });

  test('a number of retries that is none means no retry', async (t) => {
    const lossy = await behind(() => 'drop', { retries: Number.NaN });
    t.after(lossy.close);
    await assert.rejects(lossy.webhookEndpoints.page(), TypeError);
    assert.equal(lossy.seen.length, 1);
  });

  test('an answer that is no problem, such as that of a proxy, is a Problem all the same', async (t) => {
    const odd = await behind(() => (response) => void response.writeHead(404).end('<h1>Not here</h1>'));
    t.after(odd.close);
    const error = await odd.webhookEndpoints.get(SOME_ID).catch((problem) => problem);
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.type, error.code], [404, 'about:blank', undefined]);
  });
});
