import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertSigned, type Hook, type Sink, startSink } from '../support/sink.ts';
import { type Answer, assertProblem, type Call, caller, type Target, unique, uniqueEmail } from './target.ts';

const UNKNOWN = '01900000-0000-7000-8000-000000000000';
const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';

export function webhooks(target: () => Target): void {
  let sink: Sink;
  before(async () => {
    sink = await startSink();
  });
  after(() => sink.close());

  async function endpoint(call: Call, events: string[]) {
    const path = `/${unique()}`;
    const answer = await call('POST', HOOKS, { body: { url: sink.url(path), events } });
    assert.equal(answer.status, 201, answer.text);
    return { path, ...(answer.json as { id: string; secret: string; url: string }) };
  }

  /** Polls, as a client has to: the contract has no other way to learn of it. */
  async function until(call: Call, path: string, done: (answer: Answer) => boolean): Promise<Answer> {
    for (const end = performance.now() + 15_000; ; ) {
      const answer = await call('GET', path);
      if (done(answer)) return answer;
      if (performance.now() > end) assert.fail(`still ${answer.text}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  describe('webhook endpoints', () => {
    test('an endpoint is registered, read, replaced, listed and deleted, its secret shown once', async () => {
      const call = caller(target);
      const body = { url: sink.url('/crud'), events: ['nothing.ever'], description: 'Mine' };
      const made = await call('POST', HOOKS, { body });
      assert.equal(made.status, 201, made.text);
      const { id, secret, ...shown } = made.json;
      assert.match(secret, /^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/);
      const bytes = Buffer.from(secret.slice(6), 'base64').length;
      assert.ok(bytes >= 24 && bytes <= 64);
      assert.equal(made.headers.get('location'), `${HOOKS}/${id}`);
      const read = await call('GET', `${HOOKS}/${id}`);
      assert.deepEqual(read.json, { id, ...shown });
      assert.deepEqual(
        { ...body, status: 'enabled', version: 1 },
        pick(read.json, [...Object.keys(body), 'status', 'version']),
      );
      const etag = read.headers.get('etag') as string;

      const change = { ...body, events: ['*'] };
      const put = await call('PUT', `${HOOKS}/${id}`, { body: change, headers: { 'If-Match': etag } });
      assert.equal(put.status, 200, put.text);
      assert.deepEqual(put.json.events, ['*']);
      assert.equal(put.json.secret, undefined);
      const stale = await call('PUT', `${HOOKS}/${id}`, { body: change, headers: { 'If-Match': etag } });
      assertProblem(stale, 412, 'precondition-failed');

      const ids: string[] = [];
      for (let path = `${HOOKS}?limit=2`; path; ) {
        const page = await call('GET', path);
        ids.push(...page.json.data.map((each: { id: string }) => each.id));
        path = page.json.nextCursor ? `${HOOKS}?limit=2&cursor=${page.json.nextCursor}` : '';
      }
      assert.ok(ids.includes(id));
      assert.equal((await call('DELETE', `${HOOKS}/${id}`)).status, 204);
      assertProblem(await call('GET', `${HOOKS}/${id}`), 404, 'not-found');
    });

    test('an endpoint that is paused gets nothing until it is enabled, and then what waited for it', async () => {
      const call = caller(target);
      const { id, path } = await endpoint(call, ['nothing.ever']);
      const paused = await call('POST', `${HOOKS}/${id}/pause`);
      assert.deepEqual([paused.status, paused.json.status, paused.json.version], [200, 'paused', 2]);
      assert.equal(paused.headers.get('etag'), '"2"');
      const { json } = await call('POST', `${HOOKS}/${id}/test`);
      const stale = await call('POST', `${HOOKS}/${id}/enable`, { headers: { 'If-Match': '"1"' } });
      assertProblem(stale, 412, 'precondition-failed');
      // A client that writes its configuration again does not end the pause.
      const again = { url: sink.url(path), events: ['nothing.ever'] };
      assert.equal((await call('PUT', `${HOOKS}/${id}`, { body: again })).json.status, 'paused');
      const health = await call('GET', `${HOOKS}/${id}/health`);
      const waiting = { failures: 0, pausedUntil: null, sent: 0, dead: 0, pending: 1, lastFailures: [] };
      assert.deepEqual(health.json, { id, failingSince: null, ...waiting });
      assert.equal(sink.hooks.filter((hook) => hook.path === path).length, 0);
      assert.equal((await call('POST', `${HOOKS}/${id}/enable`)).json.status, 'enabled');
      await sink.received(path);
      const sent = await until(call, `${NOTIFICATIONS}/${json.id}`, (answer) => answer.json.status === 'sent');
      assert.equal(JSON.parse(sent.json.payload).type, 'webhook.test');
      assert.equal((await call('GET', `${HOOKS}/${id}/health`)).json.sent, 1);
      for (const verb of ['pause', 'enable']) {
        assertProblem(await call('POST', `${HOOKS}/${UNKNOWN}/${verb}`), 404, 'not-found');
      }
    });

    test('what cannot be a webhook is refused, each member by its pointer', async () => {
      const call = caller(target);
      for (const url of ['file:///etc/passwd', 'gopher://x.example/', 'https://user:pw@example.com/', 'nonsense', '']) {
        const answer = await call('POST', HOOKS, { body: { url, events: ['*'] } });
        assertProblem(answer, 422, 'validation-failed');
        assert.equal(answer.json.errors[0].pointer, '#/url');
      }
      const url = sink.url('/x');
      for (const events of [[], ['Not An Event'], 'order.sent', [7]]) {
        const answer = await call('POST', HOOKS, { body: { url, events } });
        assertProblem(answer, 422, 'validation-failed');
        assert.match(answer.json.errors[0].pointer, /^#\/events/);
      }
      for (const verb of ['rotate-secret', 'test']) {
        assertProblem(await call('POST', `${HOOKS}/${UNKNOWN}/${verb}`), 404, 'not-found');
      }
      assertProblem(await call('GET', HOOKS, { scope: 'notifications:read' }), 403, 'insufficient-scope');
    });
  });

  describe('deliveries', () => {
    test('an event is told to whoever subscribed to it, signed, and to nobody else', async () => {
      const call = caller(target);
      const types = ['sent', 'paid', 'closed'].map((word) => `test.t${unique()}.${word}`);
      const hears = await endpoint(call, types);
      const other = await endpoint(call, types.slice(2));
      const dataOf = (type: string) => ({ of: type, nested: { list: [1, null, 'ü'] } });
      for (const type of types) {
        const body = { email: uniqueEmail(), type, data: dataOf(type) };
        assert.equal((await call('POST', NOTIFICATIONS, { body })).status, 202);
      }
      const all = await sink.received(hears.path, 3);
      for (const hook of all) assertSigned(hook, hears.secret);
      const events = all.map((hook) => JSON.parse(hook.body));
      for (const { timestamp } of events) assert.match(timestamp, /Z$/);
      const told = Object.fromEntries(events.map(({ type, data }) => [type, data]));
      assert.deepEqual(told, Object.fromEntries(types.map((type) => [type, dataOf(type)])));
      const [closed] = await sink.received(other.path);
      assert.equal(JSON.parse(closed?.body ?? '').type, types[2]);
      assert.equal(sink.hooks.filter((hook) => hook.path === other.path).length, 1);
    });

    test('after a rotation both secrets sign, and a test reaches its endpoint alone', async () => {
      const call = caller(target);
      const hook = await endpoint(call, ['nothing.ever']);
      const headers = { 'Idempotency-Key': unique() };
      const rotated = await call('POST', `${HOOKS}/${hook.id}/rotate-secret`, { headers });
      assert.equal(rotated.status, 200, rotated.text);
      assert.equal(rotated.json.version, 2);
      assert.notEqual(rotated.json.secret, hook.secret);
      const again = await call('POST', `${HOOKS}/${hook.id}/rotate-secret`, { headers });
      assert.equal(again.headers.get('idempotent-replayed'), 'true');
      assert.equal(again.text, rotated.text);

      const asked = await call('POST', `${HOOKS}/${hook.id}/test`);
      assert.equal(asked.status, 202, asked.text);
      assert.equal(asked.json.type, 'webhook.test');
      const [test] = await sink.received(hook.path);
      assert.equal(test?.headers['webhook-id'], asked.json.id);
      assertSigned(test as Hook, hook.secret);
      assertSigned(test as Hook, rotated.json.secret);
    });

    test('what is told is listed, with its attempts', async () => {
      const call = caller(target);
      const type = `test.t${unique()}`;
      const hook = await endpoint(call, [type]);
      const body = { email: uniqueEmail(), type, data: { amount: 12, nested: { text: 'ü' } } };
      const asked = await call('POST', NOTIFICATIONS, { body });
      assert.equal(asked.status, 202, asked.text);
      assert.equal(asked.json.channel, 'email');
      const [told] = await sink.received(hook.path);
      assert.deepEqual(JSON.parse(told?.body ?? '').data, body.data);
      const id = told?.headers['webhook-id'];
      const sent = await until(call, `${NOTIFICATIONS}/${id}`, ({ json }) => json.status === 'sent');
      assert.deepEqual(pick(sent.json, ['type', 'channel', 'endpointId', 'attempts', 'dueAt', 'lastError']), {
        type,
        channel: 'webhook',
        endpointId: hook.id,
        attempts: 1,
        dueAt: null,
        lastError: null,
      });
      const [attempt, ...more] = sent.json.attemptLog;
      assert.deepEqual(more, []);
      assert.deepEqual(Object.keys(attempt), ['at', 'durationMs', 'status', 'error']);
      assert.equal(attempt.status, 204);
      await until(call, `${NOTIFICATIONS}/${asked.json.id}`, ({ json }) => json.status === 'sent');

      const listed = async (query: string): Promise<string[]> => {
        const { data } = (await call('GET', `${NOTIFICATIONS}?limit=100&${query}`)).json;
        assert.deepEqual(
          data,
          [...data].sort((a, b) => (a.id < b.id ? 1 : -1)),
          'newest first',
        );
        return data.filter((each: { type: string }) => each.type === type).map((each: { id: string }) => each.id);
      };
      const both = [asked.json.id, id].sort().reverse();
      assert.deepEqual(await listed(''), both);
      assert.deepEqual(await listed('status=sent'), both);
      assert.deepEqual(await listed('channel=webhook&status=sent'), [id]);
      assert.deepEqual(await listed('channel=email'), [asked.json.id]);
      assert.deepEqual(await listed('status=dead'), []);
      assert.deepEqual(await listed('status=pending'), []);
      assertProblem(await call('GET', `${NOTIFICATIONS}?status=lost`), 422, 'validation-failed');
      assertProblem(await call('GET', `${NOTIFICATIONS}/${UNKNOWN}`), 404, 'not-found');
    });

    test('an address is written to, and subscribers are told', async () => {
      const call = caller(target);
      const type = `test.t${unique()}`;
      const hook = await endpoint(call, [type]);
      const body = { email: uniqueEmail(), type, data: { invoice: 'INV-7' } };
      const asked = await call('POST', NOTIFICATIONS, { body });
      assert.equal(asked.status, 202, asked.text);
      assert.deepEqual(pick(asked.json, ['type', 'channel', 'endpointId']), {
        type,
        channel: 'email',
        endpointId: null,
      });
      const [told] = await sink.received(hook.path);
      assert.deepEqual(JSON.parse(told?.body ?? '').data, body.data);
      await until(call, `${NOTIFICATIONS}/${asked.json.id}`, ({ json }) => json.status === 'sent');

      const nobody = await call('POST', NOTIFICATIONS, { body: { type, data: {} } });
      assertProblem(nobody, 422, 'validation-failed');
      const wrong = await call('POST', NOTIFICATIONS, { body: { ...body, email: 'nobody' } });
      assertProblem(wrong, 422, 'validation-failed');
      assert.equal(wrong.json.errors[0].pointer, '#/email');
    });

    test('a failed delivery comes again after five seconds, under the same id', async () => {
      const call = caller(target);
      const hook = await endpoint(call, ['nothing.ever']);
      sink.reply(hook.path, 500);
      const { id } = (await call('POST', `${HOOKS}/${hook.id}/test`)).json;
      const [first] = await sink.received(hook.path);
      const failed = await until(call, `${NOTIFICATIONS}/${id}`, ({ json }) => json.attemptLog.length === 1);
      assert.deepEqual(pick(failed.json, ['status', 'attempts', 'lastError']), {
        status: 'pending',
        attempts: 1,
        lastError: 'HTTP 500',
      });
      sink.reply(hook.path, 204);
      const [, second] = await sink.received(hook.path, 2);
      const waited = (second as Hook).at - (first as Hook).at;
      assert.ok(waited >= 3900, `${waited} ms`);
      assert.equal(second?.headers['webhook-id'], id);
      assertSigned(second as Hook, hook.secret);
      await until(call, `${NOTIFICATIONS}/${id}`, ({ json }) => json.status === 'sent' && json.attempts === 2);
    });

    test('410 ends it and disables the endpoint, whose dead notification can be redriven once it is enabled', async () => {
      const call = caller(target);
      const hook = await endpoint(call, ['nothing.ever']);
      sink.reply(hook.path, 410);
      const { id } = (await call('POST', `${HOOKS}/${hook.id}/test`)).json;
      const dead = await until(call, `${NOTIFICATIONS}/${id}`, ({ json }) => json.status === 'dead');
      assert.equal(dead.json.lastError, 'HTTP 410');
      const disabled = await call('GET', `${HOOKS}/${hook.id}`);
      assert.equal(disabled.json.status, 'disabled');
      assertProblem(await call('POST', `${NOTIFICATIONS}/${id}/cancel`), 409, 'conflict');

      sink.reply(hook.path, 200);
      const put = await call('PUT', `${HOOKS}/${hook.id}`, { body: { url: hook.url, events: ['nothing.ever'] } });
      assert.equal(put.json.status, 'enabled');
      const redriven = await call('POST', `${NOTIFICATIONS}/${id}/redrive`);
      assert.equal(redriven.status, 200, redriven.text);
      assert.deepEqual(pick(redriven.json, ['id', 'status', 'attempts']), { id, status: 'pending', attempts: 0 });
      const [, again] = await sink.received(hook.path, 2);
      assert.equal(again?.headers['webhook-id'], id);
      const sent = await until(call, `${NOTIFICATIONS}/${id}`, ({ json }) => json.status === 'sent');
      assert.equal(sent.json.attempts, 1);
      assert.equal(sent.json.attemptLog.length, 2);
      assertProblem(await call('POST', `${NOTIFICATIONS}/${id}/redrive`), 409, 'conflict');
      assertProblem(await call('POST', `${NOTIFICATIONS}/${UNKNOWN}/redrive`), 404, 'not-found');
    });

    test('all dead ones of an endpoint are redriven by one request, which is followed to its end and told by statistics', async () => {
      const call = caller(target);
      const hook = await endpoint(call, ['nothing.ever']);
      sink.reply(hook.path, (_, response) => response.writeHead(410).end());
      const tests = await Promise.all([1, 2, 3].map(() => call('POST', `${HOOKS}/${hook.id}/test`)));
      const paths = tests.map(({ json }) => `${NOTIFICATIONS}/${json.id}`);
      for (const path of paths) await until(call, path, ({ json }) => json.status === 'dead');
      const received = sink.hooks.filter(({ path }) => path === hook.path).length;
      sink.reply(hook.path, 200);
      await call('PUT', `${HOOKS}/${hook.id}`, { body: { url: hook.url, events: ['nothing.ever'] } });

      const headers = { 'Idempotency-Key': unique() };
      const body = { filter: { endpointId: hook.id, status: 'dead', text: 'webhook.test' } };
      const asked = await call('POST', `${NOTIFICATIONS}/redrive`, { body, headers });
      assert.equal(asked.status, 202, asked.text);
      assert.deepEqual(pick(asked.json, ['matching', 'done', 'status']), { matching: 3, done: 0, status: 'running' });
      const again = await call('POST', `${NOTIFICATIONS}/redrive`, { body, headers });
      assert.deepEqual([again.text, again.headers.get('idempotent-replayed')], [asked.text, 'true']);
      const location = asked.headers.get('location') as string;
      const ended = await until(call, location, ({ json }) => json.status === 'finished');
      assert.equal(ended.json.done, 3);
      for (const path of paths) await until(call, path, ({ json }) => json.status === 'sent');
      assert.equal((await sink.received(hook.path, received + 3)).length, received + 3);
      assertProblem(await call('POST', `${location}/stop`), 409, 'conflict');
      assertProblem(await call('GET', `/api/v1/actions/${UNKNOWN}`), 404, 'not-found');

      const { data } = (await call('GET', '/api/v1/actions?limit=100')).json;
      const mine = data.filter(
        (each: { id: string; targetId: string }) => [asked.json.id].includes(each.id) || each.targetId === hook.id,
      );
      const names = mine.map(({ action }: { action: string }) => action.replace('webhook_endpoint', 'e')).reverse();
      assert.deepEqual(names, ['e.create', 'e.test', 'e.test', 'e.test', 'e.replace', 'notifications.redrive']);
      const { minutes, dispatchers } = (await call('GET', '/api/v1/stats')).json;
      const count = (outcome: string) =>
        minutes.reduce((sum: number, each: Record<string, number>) => sum + (each[outcome] as number), 0);
      assert.ok(count('sent') >= 3 && count('dead') >= 3);
      assert.ok(dispatchers.some(({ alive }: { alive: boolean }) => alive));
    });

    test('a pending notification is canceled, and not sent', async () => {
      const call = caller(target);
      const hook = await endpoint(call, ['nothing.ever']);
      sink.reply(hook.path, (_, response) => response.writeHead(503, { 'Retry-After': '3600' }).end());
      const { id } = (await call('POST', `${HOOKS}/${hook.id}/test`)).json;
      const path = `${NOTIFICATIONS}/${id}`;
      const failed = await until(call, path, ({ json }) => json.attemptLog.length === 1);
      const waits = Date.parse(failed.json.dueAt) - Date.parse(failed.json.attemptLog[0].at);
      // One is rounded, the other is not.
      assert.ok(waits >= 3_599_999, 'Retry-After is a floor');
      const canceled = await call('POST', `${path}/cancel`);
      assert.equal(canceled.status, 200, canceled.text);
      assert.equal(canceled.json.status, 'canceled');
      assert.equal((await call('GET', path)).json.status, 'canceled');
      assertProblem(await call('POST', `${path}/cancel`), 409, 'conflict');
      assertProblem(await call('POST', `${NOTIFICATIONS}/${UNKNOWN}/cancel`), 404, 'not-found');
    });
  });
}

function pick(of: Record<string, unknown>, keys: string[]): Record<string, unknown> {
  return Object.fromEntries(keys.map((key) => [key, of[key]]));
}
