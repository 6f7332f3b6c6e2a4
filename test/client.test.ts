import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createClient, Problem, type User } from '../src/client.ts';
import { unique, uniqueEmail } from './conformance/target.ts';
import { createDatabase } from './support/databases.ts';
import { query } from './support/postgres-server.ts';
import { type Service, startService } from './support/service.ts';
import { token } from './support/tokens.ts';

const SOME_ID = '01900000-0000-7000-8000-000000000000';

/** What becomes of one request on its way: sent on as it is, its answer lost after it was made, or answered instead. */
type Fate = 'pass' | 'drop' | 'cut' | ((response: ServerResponse) => void);

/** A proxy before the service that treats each request as `fate` says. */
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
  const count = async (email: string) =>
    (await query(database.name, 'select count(*)::int as count from users where email = $1', [email]))[0]?.count;
  const told = async (id: string) =>
    (await query(database.name, 'select count(*)::int as count from notifications where user_id = $1', [id]))[0]?.count;

  /** A client behind a proxy that does `fate` to each request. */
  async function behind(fate: (count: number, request: IncomingMessage) => Fate, options = {}) {
    const proxy = await startProxy(service.url, fate);
    const { users } = createClient(proxy.url, { token: token(), ...options });
    return { users, seen: proxy.seen, close: proxy.close };
  }

  test('a user is created, read, replaced, found and removed, with the types of the app', async () => {
    const { users } = client();
    const email = uniqueEmail();
    const user: User = await users.create({ email, name: 'Ada' });
    assert.deepEqual(await users.get(user.id), user);
    // @ts-expect-error: a user has no such member
    assert.equal(user.nonsense, undefined);
    // @ts-expect-error: a user needs a name
    await assert.rejects(users.create({ email: uniqueEmail() }), Problem);

    const changed = await users.replace(user.id, { email, name: 'Countess' }, { version: user.version });
    assert.equal(changed.version, 2);
    const found: User[] = (await users.page({ email })).data;
    assert.deepEqual(found, [changed]);
    await users.remove(user.id, { version: changed.version });
    await assert.rejects(users.get(user.id), (error) => error instanceof Problem && error.code === 'not-found');
  });

  test('every item of a list comes once and in order, however many pages it takes', async () => {
    const { users } = client();
    const mine: string[] = [];
    for (let i = 0; i < 7; i++) mine.push((await users.create({ email: uniqueEmail(), name: 'x' })).id);
    const seen: string[] = [];
    for await (const { id } of users.list({ limit: 2 })) seen.push(id);
    assert.deepEqual(
      seen.filter((id) => mine.includes(id)),
      mine,
    );
    assert.equal(new Set(seen).size, seen.length);
  });

  test('endpoints and notifications have all their operations', async () => {
    const { users, webhookEndpoints, notifications } = client();
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

    const { id: userId } = await users.create({ email: uniqueEmail(), name: 'x' });
    const type = `test.t${unique()}`;
    const told = await notifications.create({ userId, type, data: { any: ['thing'] } });
    assert.equal((await notifications.get(told.id)).type, type);
    const types: string[] = [];
    for await (const each of notifications.list({ userId, channel: 'email' })) types.push(each.type);
    assert.ok(types.includes(type));
    for (const verb of ['redrive', 'cancel'] as const) {
      await assert.rejects(notifications[verb](SOME_ID), ({ status }: Problem) => status === 404);
    }
  });

  test('a problem is an error that says all that the answer said', async () => {
    const { users } = client();
    const bad = await users.create({ email: 'nope', name: '' }).catch((error) => error);
    assert.ok(bad instanceof Problem);
    assert.equal(bad.code, 'validation-failed');
    assert.equal(bad.status, 422);
    assert.equal(bad.uncertain, false);
    assert.match(bad.requestId ?? '', /^[\w-]+$/);
    assert.deepEqual(bad.errors.map((error) => 'pointer' in error && error.pointer).sort(), ['#/email', '#/name']);
    const anonymous = await createClient(service.url, { token: 'nonsense' })
      .users.get(SOME_ID)
      .catch((error) => error);
    assert.equal(anonymous.code, 'unauthorized');
  });

  test('a token that expires can be had anew for each request', async () => {
    let asked = 0;
    const fresh = async () => token({ claims: { sub: `renewed-${++asked}` } });
    const { users } = client({ token: fresh });
    await users.page();
    await users.page();
    assert.equal(asked, 2);
  });

  test('an answer that is lost after the commit, whole or in part, leads to one user and one set of notifications', async (t) => {
    for (const fate of ['drop', 'cut'] as const) {
      const lossy = await behind((n) => (n <= 2 ? fate : 'pass'));
      t.after(lossy.close);
      const email = uniqueEmail();
      const user = await lossy.users.create({ email, name: 'Once' });
      assert.equal(user.email, email);
      assert.equal(lossy.seen.length, 3);
      assert.equal(new Set(lossy.seen.map(({ headers }) => headers['idempotency-key'])).size, 1);
      assert.equal(await count(email), 1);
      assert.equal(await told(user.id), 1);
      const another = await lossy.users.create({ email: uniqueEmail(), name: 'Other' });
      assert.notEqual(another.id, user.id);
    }
  });

  test('an answer to a change that is lost is not taken for the change of another', async (t) => {
    const user = await client().users.create({ email: uniqueEmail(), name: 'Once' });
    const lossy = await behind((n) => (n % 2 === 1 ? 'drop' : 'pass'));
    t.after(lossy.close);
    const { email, version } = user;
    const conflict = await lossy.users.replace(user.id, { email, name: 'Mine' }, { version }).catch((error) => error);
    assert.equal(conflict.code, 'precondition-failed');
    assert.equal(conflict.uncertain, true);
    assert.equal((await client().users.get(user.id)).name, 'Mine');
    await lossy.users.remove(user.id);
    await assert.rejects(client().users.get(user.id), ({ status }: Problem) => status === 404);
  });

  test('what might have an effect twice is not repeated', async (t) => {
    const user = await client().users.create({ email: uniqueEmail(), name: 'Once' });
    const lossy = await behind(() => 'drop');
    t.after(lossy.close);
    const put = lossy.users.replace(user.id, { email: user.email, name: 'Twice' });
    await assert.rejects(put, TypeError);
    assert.equal(lossy.seen.length, 1);
    await assert.rejects(lossy.users.get(user.id), TypeError);
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
      await once.users.create({ email: uniqueEmail(), name: 'Patient' });
      const took = performance.now() - begun;
      assert.ok(took >= 1000, `${took} ms`);
    }
    const never = await behind(() => busy(503, '3600'));
    t.after(never.close);
    const error = await never.users.page().catch((problem) => problem);
    assert.equal(error.code, 'unavailable');
    assert.equal(never.seen.length, 1);
  });

  test('a call is given up when its signal says so, between attempts too', async (t) => {
    const lossy = await behind(() => 'drop', { retries: 1000 });
    t.after(lossy.close);
    const controller = new AbortController();
    const call = lossy.users.get(SOME_ID, { signal: controller.signal });
    setImmediate(() => controller.abort(new Error('enough')));
    await assert.rejects(call, /enough|abort/);
    const seen = lossy.seen.length;
    const gone = AbortSignal.abort(new Error('at once'));
    await assert.rejects(lossy.users.get(SOME_ID, { signal: gone }), /at once/);
    assert.equal(lossy.seen.length, seen);
  });

  test('an answer that is no problem, such as that of a proxy, is a Problem all the same', async (t) => {
    const odd = await behind(() => (response) => void response.writeHead(404).end('<h1>Not here</h1>'));
    t.after(odd.close);
    const error = await odd.users.get(SOME_ID).catch((problem) => problem);
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.type, error.code], [404, 'about:blank', undefined]);
  });
});
