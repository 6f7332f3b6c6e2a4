import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { SECRET } from '../support/deps.ts';
import { token } from '../support/tokens.ts';
import {
  type Answer,
  answerOf,
  assertProblem,
  caller,
  newEndpoint,
  newNotice,
  TARGET_ENV,
  type Target,
  unique,
} from './target.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';
const SOME_ID = '01900000-0000-7000-8000-000000000000';

function inChunks(text: string): ReadableStream<Uint8Array> {
  return new Blob([text]).stream();
}

export function errors(target: () => Target): void {
  describe('bad input', () => {
    const call = caller(target);
    const post = (raw: string, headers = {}) => call('POST', HOOKS, { raw, headers });

    test('what is not JSON is refused', async () => {
      for (const raw of ['{', '', '{"a":1}}', 'null,', "{'a':1}"]) {
        assertProblem(await post(raw), 400, 'malformed-json');
      }
    });

    test('a body that is not UTF-8 is refused', async () => {
      const body = Buffer.from(JSON.stringify({ ...newEndpoint(), description: 'é' }), 'latin1');
      assertProblem(await call('POST', HOOKS, { raw: new Blob([body]).stream() }), 400, 'malformed-json');
    });

    test('a body that is not declared as JSON is refused', async () => {
      const body = JSON.stringify(newEndpoint());
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml']) {
        assertProblem(await post(body, { 'Content-Type': type }), 415, 'unsupported-media-type');
      }
      const ok = await post(body, { 'Content-Type': 'application/json; charset=utf-8' });
      assert.equal(ok.status, 201);
      // Whatever the body's encoding: its type is refused first.
      for (const headers of [{ 'Content-Type': 'text/plain' }, { 'Content-Encoding': 'gzip' }]) {
        const raw = new Blob([Buffer.from([0x1f, 0x8b, 0xff])]).stream();
        assertProblem(await call('POST', HOOKS, { raw, headers }), 415, 'unsupported-media-type');
      }
    });

    test('a body over the limit is refused, whether its length is told or not', async () => {
      const large = JSON.stringify({ ...newEndpoint(), description: 'x'.repeat(1_000_000) });
      assertProblem(await post(large), 413, 'content-too-large');
      assertProblem(await call('POST', HOOKS, { raw: inChunks(large) }), 413, 'content-too-large');
      const small = JSON.stringify({ ...newEndpoint(), description: 'x'.repeat(200) });
      assert.equal((await call('POST', HOOKS, { raw: inChunks(small) })).status, 201);
    });

    test('whoever sends a body over the limit reads the answer, however many do so at once', async () => {
      const large = JSON.stringify({ ...newEndpoint(), description: 'x'.repeat(1_000_000) });
      const send = async () => {
        const own = caller(target);
        for (let i = 0; i < 20; i++) {
          assertProblem(await own('POST', HOOKS, { raw: large }), 413, 'content-too-large');
        }
      };
      await Promise.all(Array.from({ length: 6 }, send));
    });

    test('every member that is not acceptable is named by a pointer', async () => {
      const answer = await post(JSON.stringify({ url: 7, extra: 1, 'a/b~c d': 2 }));
      assertProblem(answer, 422, 'validation-failed');
      const pointers = answer.json.errors.map((error: { pointer: string }) => error.pointer).sort();
      assert.deepEqual(pointers, ['#/a~1b~0c%20d', '#/events', '#/extra', '#/url']);
      for (const { detail } of answer.json.errors) assert.ok(detail.length > 0);
      const named = async (method: string, path: string, body: object, headers = {}) => {
        const { json } = await call(method, path, { body, headers });
        return json.errors.map((error: Record<string, string>) => error.pointer ?? error.parameter).sort();
      };
      assert.deepEqual(await named('POST', HOOKS, { url: 'nope', events: [] }), ['#/events', '#/url']);
      const put = await named('PUT', `${HOOKS}/${SOME_ID}`, {}, { 'If-Match': 'bad' });
      assert.deepEqual(put, ['#/events', '#/url', 'If-Match']);
      for (const raw of ['null', '[]', '"text"', '7']) {
        const whole = await post(raw);
        assertProblem(whole, 422, 'validation-failed');
        assert.equal(whole.json.errors[0].pointer, '#');
      }
    });

    test('values that no database should see are refused', async () => {
      const [hook, notice] = [newEndpoint(), newNotice()];
      const bad: [path: string, body: Record<string, unknown>, pointer: string][] = [
        [HOOKS, { ...hook, description: 'a\0b' }, '#/description'],
        [HOOKS, { ...hook, description: '\ud800' }, '#/description'],
        [HOOKS, { ...hook, url: '' }, '#/url'],
        [HOOKS, { ...hook, description: 'x'.repeat(501) }, '#/description'],
        [HOOKS, { ...hook, description: 7 }, '#/description'],
        [HOOKS, { ...hook, description: null }, '#/description'],
        [NOTIFICATIONS, { ...notice, email: `${'a'.repeat(388)}@example.com` }, '#/email'],
        [NOTIFICATIONS, { ...notice, email: 'a\0@example.com' }, '#/email'],
        [NOTIFICATIONS, { ...notice, email: ['a@example.com'] }, '#/email'],
      ];
      for (const [path, body, pointer] of bad) {
        const answer = await call('POST', path, { body });
        assertProblem(answer, 422, 'validation-failed');
        assert.ok(
          answer.json.errors.every((error: { pointer: string }) => error.pointer === pointer),
          answer.text,
        );
      }
    });

    test('every query parameter that is not acceptable is named', async () => {
      for (const limit of ['0', '-1', '101', '1e9', '1000000000', '1.5', 'ten', '', '%00']) {
        const answer = await call('GET', `${HOOKS}?limit=${limit}`);
        assertProblem(answer, 422, 'validation-failed');
        assert.deepEqual(
          answer.json.errors.map((error: { parameter: string }) => error.parameter),
          ['limit'],
        );
      }
      const all = await call('GET', `${NOTIFICATIONS}?limit=0&channel=nope&unknown=1`);
      const parameters = new Set(all.json.errors.map((error: { parameter: string }) => error.parameter));
      assert.deepEqual([...parameters].sort(), ['channel', 'limit', 'unknown']);
      assertProblem(await call('GET', `${NOTIFICATIONS}?channel=%00`), 422, 'validation-failed');
      assertProblem(await call('GET', `${HOOKS}?limit=1&limit=2`), 422, 'validation-failed');
    });

    test('an id that is no UUID, or of nobody, is not found', async () => {
      for (const id of ['1', 'x', SOME_ID, `${SOME_ID}0`, '%00', 'a%2Fb', '..%2f..%2fhealth', '%E0%A4%A']) {
        assertProblem(await call('GET', `${HOOKS}/${id}`), 404, 'not-found');
      }
    });

    test('an unknown path is not found, with or without a token', async () => {
      for (const path of ['/', '/nope', '/api', '/api/v1', '/api/v1/nope', `${HOOKS}/`, `${HOOKS}/${SOME_ID}/x`]) {
        assertProblem(await call('GET', path), 404, 'not-found');
        assertProblem(await answerOf(await fetch(new URL(path, target().url))), 404, 'not-found');
      }
    });

    test('a wrong method is told which ones there are', async () => {
      const cases: [string, string, string[]][] = [
        ['DELETE', HOOKS, ['GET', 'HEAD', 'POST']],
        ['PATCH', `${HOOKS}/${SOME_ID}`, ['DELETE', 'GET', 'HEAD', 'PUT']],
        ['POST', '/health', ['GET', 'HEAD']],
        ['OPTIONS', HOOKS, ['GET', 'HEAD', 'POST']],
      ];
      for (const [method, path, allowed] of cases) {
        const answer = await call(method, path);
        assertProblem(answer, 405, 'method-not-allowed');
        assert.deepEqual(answer.headers.get('allow')?.split(', ').sort(), allowed);
      }
    });
  });

  describe('tokens', () => {
    const get = async (authorization?: string) =>
      answerOf(
        await fetch(new URL(`${HOOKS}?limit=1`, target().url), {
          headers: authorization === undefined ? {} : { Authorization: authorization },
        }),
      );
    const past = Math.floor(Date.now() / 1000) - 3600;
    const future = Math.floor(Date.now() / 1000) + 3600;

    test('without a token the answer asks for one', async () => {
      const answer = await get();
      assertProblem(answer, 401, 'unauthorized');
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    });

    test('a token that is not acceptable is refused, each kind with invalid_token', async () => {
      const none = Buffer.from('{"alg":"none"}').toString('base64url');
      const payload = Buffer.from(JSON.stringify({ sub: 'x', exp: future })).toString('base64url');
      const hs512 = `${Buffer.from('{"alg":"HS512"}').toString('base64url')}.${payload}`;
      const bad = {
        expired: token({ claims: { exp: past } }),
        'not yet valid': token({ claims: { nbf: future } }),
        'signed with another key': token({ secret: 'another secret of more than 32 bytes, really' }),
        'alg none': `${none}.${payload}.`,
        'alg none with a signature': token({ header: { alg: 'none' } }),
        'another algorithm': `${hs512}.${createHmac('sha512', SECRET).update(hs512).digest('base64url')}`,
        'no subject': token({ claims: { sub: undefined } }),
        'empty subject': token({ claims: { sub: '' } }),
        'a subject that no database can hold': token({ claims: { sub: 'a\0b' } }),
        'a subject of half a character': token({ claims: { sub: '\ud800' } }),
        'a subject of more than 255 characters': token({ claims: { sub: 'x'.repeat(256) } }),
        'no token at all': 'abc',
        'a changed payload': token().replace(/\.[^.]+\./, `.${payload}.`),
      };
      for (const [what, value] of Object.entries(bad)) {
        const answer = await get(`Bearer ${value}`);
        assertProblem(answer, 401, 'unauthorized');
        assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer error="invalid_token"/, what);
      }
      assert.equal((await get(`Bearer ${token({ claims: { sub: unique().padEnd(255, 'é') } })}`)).status, 200);
      for (const header of ['Basic YTpi', 'Bearer', 'Bearer  ', `Token ${token()}`]) {
        assertProblem(await get(header), 401, 'unauthorized');
      }
    });

    test('a missing scope is forbidden, and named', async () => {
      const call = caller(target);
      const answer = await call('POST', HOOKS, {
        body: newEndpoint(),
        scope: 'webhooks:read',
      });
      assertProblem(answer, 403, 'insufficient-scope');
      const header = answer.headers.get('www-authenticate');
      assert.equal(header, 'Bearer error="insufficient_scope", scope="webhooks:write"');
      assertProblem(await call('GET', HOOKS, { scope: '' }), 403, 'insufficient-scope');
      assertProblem(await call('GET', HOOKS, { scope: 'webhooks:reader' }), 403, 'insufficient-scope');
    });
  });

  describe('limits', () => {
    test('a request whose body does not come is ended at the deadline', async () => {
      const call = caller(target);
      const never = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode('{"url":')),
      });
      const start = performance.now();
      const answer = await call('POST', HOOKS, { raw: never });
      const took = performance.now() - start;
      assertProblem(answer, 504, 'timeout');
      const deadline = Number(TARGET_ENV.REQUEST_TIMEOUT_MS);
      assert.ok(took >= deadline - 50, `${took} ms`);
    });

    test('a request without a token is refused though its body never comes', async () => {
      const never = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode('{"url":')),
      });
      const init: RequestInit = { method: 'POST', body: never, duplex: 'half' };
      const { status } = await fetch(new URL(HOOKS, target().url), { ...init, signal: AbortSignal.timeout(60_000) });
      assert.equal(status, 401);
    });

    const max = Number(TARGET_ENV.RATE_LIMIT_MAX);
    const minute = () => Math.floor(Date.now() / 60_000);

    /**
     * Repeats a request until it is rate-limited. Starts again with another if a minute has begun, as some count by minute,
     * or if a response took long: it may not be counted where all processes count.
     */
    async function untilRefused(make: () => (n: number) => Promise<Answer>) {
      for (;;) {
        const [begun, send, answers] = [minute(), make(), [] as Answer[]];
        let longestMs = 0;
        while (answers.length < 2 * max && answers.at(-1)?.status !== 429) {
          const asked = performance.now();
          answers.push(await send(answers.length));
          longestMs = Math.max(longestMs, performance.now() - asked);
        }
        const [last, before] = [answers.pop() as Answer, answers.map(({ status }) => status)];
        if (begun === minute() && longestMs < 900) return { last, before };
      }
    }

    test('a subject over its quota is refused until the window ends, and others are not', async () => {
      const { last, before } = await untilRefused(() => {
        const call = caller(target, `greedy-${unique()}`);
        return async () => {
          const answer = await call('GET', `${HOOKS}?limit=1`);
          const policy = `"default";q=${max};w=${TARGET_ENV.RATE_LIMIT_WINDOW_S}`;
          assert.equal(answer.headers.get('ratelimit-policy'), policy);
          return answer;
        };
      });
      assertProblem(last, 429, 'rate-limited');
      assert.deepEqual(before, Array(max).fill(200));
      const retryAfter = Number(last.headers.get('retry-after'));
      assert.ok(retryAfter >= 1 && retryAfter <= Number(TARGET_ENV.RATE_LIMIT_WINDOW_S));
      const known = /^"default";r=(\d+);t=(\d+)$/.exec(last.headers.get('ratelimit') ?? '"default";r=0;t=0');
      assert.equal(known?.[1], '0');
      assert.ok(retryAfter >= Number(known?.[2]));
      assert.equal((await caller(target)('GET', `${HOOKS}?limit=1`)).status, 200);
    });

    test('a client that guesses tokens is refused, and a good token behind the same address never is', async () => {
      const from = async (address: string, authorization = 'Bearer wrong') => {
        // What the runtimes' proxies set.
        const where = { 'X-Forwarded-For': `192.0.2.1, ${address}`, 'CF-Connecting-IP': address };
        const url = new URL(`${HOOKS}?limit=1`, target().url);
        return answerOf(await fetch(url, { headers: { ...where, Authorization: authorization } }));
      };
      let network = '';
      const { last, before } = await untilRefused(() => {
        network = `2001:db8:${unique().slice(0, 4)}:abc`;
        return (n) => from(`${network}:${n.toString(16)}::1`);
      });
      assertProblem(last, 429, 'rate-limited');
      assert.deepEqual(before, Array(max).fill(401), 'an IPv6 address is counted with its network');
      for (let n = 0; n < 3; n++) {
        const good = `Bearer ${token({ claims: { sub: unique() } })}`;
        assert.equal((await from(`${network.toUpperCase()}::2`, good)).status, 200);
      }
      assertProblem(await from(`2001:db8:${unique().slice(0, 4)}:abd::1`), 401, 'unauthorized');
    });
  });
}
