import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { assertProblem, caller, newEndpoint, newNotice, unique } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const SOME_ID = '01900000-0000-7000-8000-000000000000';
const AUTHORIZATION = `Authorization: Bearer ${token()}`;

describe('requests that few clients send', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000' });
  });
  after(async () => {
    await service.stop();
    await database.drop();
  });

  /** Sends lines as they are and returns the response, parsed no further than necessary. */
  async function raw(lines: string[], body = '') {
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    socket.write(`${[...lines, 'Host: x', 'Connection: close'].join('\r\n')}\r\n\r\n${body}`);
    const answer = await text(socket);
    const [head = '', ...rest] = answer.split('\r\n\r\n');
    const headers = new Headers(
      head
        .split('\r\n')
        .slice(1)
        .map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]),
    );
    return { status: Number(head.split(' ')[1]), headers, text: rest.join('\r\n\r\n') };
  }

  const rawProblem = async (lines: string[], body = '') => {
    const answer = await raw(lines, body);
    return { ...answer, json: JSON.parse(answer.text) };
  };

  test('a header of 20 KB is refused with a problem, whichever it is, and the next request is served', async () => {
    for (const name of ['X-Anything', 'Authorization', 'Idempotency-Key', 'If-Match', 'Cookie']) {
      const answer = await rawProblem([`GET ${HOOKS} HTTP/1.1`, `${name}: ${'x'.repeat(20_000)}`]);
      assertProblem(answer as never, 431, 'headers-too-large');
      assert.equal((await fetch(new URL(answer.json.type, service.url))).status, 200);
    }
    assert.equal((await fetch(`${service.url}/health`)).status, 200);
  });

  test('what is not HTTP is refused, and the next request is served', async () => {
    for (const line of ['nonsense', 'GET / HTTP/9.9', 'GET /\u0001 HTTP/1.1', 'OPTIONS * HTTP/1.1']) {
      assert.equal((await raw([line])).status, 400, line);
    }
    assert.deepEqual(
      service.lines.filter(({ level }) => level === 'error'),
      [],
    );
    assert.equal((await fetch(`${service.url}/health`)).status, 200);
  });

  test('what is no request waits for the answers that are due before it', async () => {
    const post = () => {
      const body = JSON.stringify(newEndpoint());
      const head = [`POST ${HOOKS} HTTP/1.1`, 'Host: x', AUTHORIZATION, 'Content-Type: application/json'];
      return `${head.join('\r\n')}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    };
    const badChunk = `POST ${HOOKS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`;
    for (const [said, statuses] of [
      [`${post()}nonsense\r\n\r\n`, [201, 400]],
      [`${post()}}`, [201, 400]],
      [`${post()}${post()}${'x'.repeat(100_000)}`, [201, 201, 400]],
      [`${post()}CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n`, [201, 400]],
      [`${post()}${badChunk}`, [201, 400]],
      [badChunk, [400]],
    ] as const) {
      const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
      socket.write(said);
      const answers = await text(socket);
      assert.deepEqual(answers.match(/(?<=HTTP\/1\.1 )\d+/g)?.map(Number), statuses, said.slice(0, 400));
    }
  });

  test('a header sent twice is no way around what one of them says', async () => {
    const { id } = (await caller(() => service)('POST', HOOKS, { body: newEndpoint() })).json;
    const body = JSON.stringify({ ...newEndpoint(), description: 'Twice' });
    const send = (method: string, path: string, ...lines: string[]) =>
      raw(
        [`${method} ${path} HTTP/1.1`, ...lines, 'Content-Type: application/json', `Content-Length: ${body.length}`],
        body,
      );
    const [path, list] = [`${HOOKS}/${id}`, HOOKS];
    const [one, two] = [`Idempotency-Key: "${unique()}"`, `Idempotency-Key: "${unique()}"`];
    assert.equal((await send('POST', list, AUTHORIZATION, one, two)).status, 400);
    assert.equal((await send('PUT', path, AUTHORIZATION, 'If-Match: "8"', 'If-Match: "9"')).status, 412);
    assert.equal((await send('PUT', path, AUTHORIZATION, 'If-Match: "8"', 'If-Match: "1"')).status, 200);
    assert.equal((await send('PUT', path, 'Authorization: Bearer nonsense', AUTHORIZATION)).status, 401);
    const length = await raw([`PUT ${path} HTTP/1.1`, AUTHORIZATION, 'Content-Length: 1', 'Content-Length: 2'], '{}');
    assert.equal(length.status, 400);
  });

  test('an encoded slash is part of a name, never a way to another path', async () => {
    const call = caller(() => service);
    for (const path of [
      `${HOOKS}%2F`,
      `${HOOKS}%2f${SOME_ID}`,
      '/api/v1%2Fwebhook-endpoints',
      `${HOOKS}/..%2f..%2fhealth`,
      '/api%2fv1/webhook-endpoints',
      '/problems/..%2fhealth',
    ]) {
      const answer = await rawProblem([`GET ${path} HTTP/1.1`, AUTHORIZATION]);
      assertProblem(answer as never, 404, 'not-found');
    }
    assertProblem(await call('GET', `${HOOKS}/${SOME_ID}%2F`), 404, 'not-found');
  });

  test('an If-Match that is weak matches nothing, one that is nonsense is refused, and neither changes anything', async () => {
    const call = caller(() => service);
    const body = newEndpoint();
    const { id } = (await call('POST', HOOKS, { body })).json;
    const path = `${HOOKS}/${id}`;
    for (const method of ['PUT', 'DELETE']) {
      const send = (tag: string) =>
        call(method, path, { headers: { 'If-Match': tag }, ...(method === 'PUT' && { body }) });
      for (const tag of ['W/"1"', '"2"', '"1x"', '"-1"', '"99999999999999999999"', '""']) {
        assertProblem(await send(tag), 412, 'precondition-failed');
      }
      for (const tag of ['1', '"1', '', '"1" "2"', '*, "1"']) assertProblem(await send(tag), 422, 'validation-failed');
    }
    assert.equal((await call('GET', path)).json.version, 1);
  });

  test('the API answers in JSON whatever is asked for', async () => {
    const call = caller(() => service);
    for (const Accept of ['text/html', 'application/xml;q=1, */*;q=0', 'nonsense', '']) {
      const { id } = (await call('POST', HOOKS, { body: newEndpoint(), headers: { Accept } })).json;
      for (const path of [HOOKS, `${HOOKS}/${id}`, '/openapi.json']) {
        assert.match(
          (await call('GET', path, { headers: { Accept } })).headers.get('content-type') ?? '',
          /^application\/json/,
        );
      }
      assertProblem(await call('GET', `${HOOKS}/${SOME_ID}`, { headers: { Accept } }), 404, 'not-found');
    }
  });

  test('every route has HEAD where it has GET, and names its methods to OPTIONS and to those that it lacks', async () => {
    const call = caller(() => service);
    const { paths } = (await call('GET', '/openapi.json')).json;
    // For other collections, a missing resource is requested: it has the same methods.
    const ids: Record<string, string> = {};
    const post = async (path: string, body: object) => (await call('POST', path, { body })).json.id as string;
    ids[HOOKS] = await post(HOOKS, newEndpoint());
    ids['/api/v1/notifications'] = await post('/api/v1/notifications', newNotice());
    for (const [template, item] of Object.entries<object>(paths)) {
      const collection = template.replace(/\/\{.*/, '');
      const path = template.replace('{id}', () => ids[collection] ?? SOME_ID).replace('{name}', 'not-found');
      const methods = Object.keys(item).map((method) => method.toUpperCase());
      const allowed = [...methods, ...(methods.includes('GET') ? ['HEAD'] : [])].sort();
      if (methods.includes('GET')) {
        const [head, get] = [await call('HEAD', path), await call('GET', path)];
        assert.equal(head.status, get.status, path);
        assert.equal(head.text, '');
        for (const name of ['content-type', 'etag', 'ratelimit-policy', 'content-security-policy']) {
          assert.equal(head.headers.get(name), get.headers.get(name), `${path} ${name}`);
        }
      }
      for (const method of [
        'OPTIONS',
        'PATCH',
        ...['GET', 'PUT', 'DELETE', 'POST'].filter((each) => !methods.includes(each)),
      ]) {
        const answer = await call(method, path);
        assertProblem(answer, 405, 'method-not-allowed');
        assert.deepEqual(answer.headers.get('allow')?.split(', ').sort(), allowed, path);
      }
    }
  });

  test('a client that goes away while its body is awaited leaves nothing behind', async () => {
    const id = unique();
    const body = JSON.stringify({ ...newNotice(), type: `test.t${id}` });
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    const head = [
      'POST /api/v1/notifications HTTP/1.1',
      'Host: x',
      `X-Request-Id: ${id}`,
      AUTHORIZATION,
      'Content-Type: application/json',
    ];
    socket.write(`${head.join('\r\n')}\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 20)}`, () =>
      socket.destroy(),
    );
    const { status } = await service.line(({ msg, requestId }) => msg === 'request' && requestId === id);
    assert.ok(Number(status) >= 400);
    assert.deepEqual(await query(database.name, 'select from messages where type = $1', [`test.t${id}`]), []);
  });

  describe('what the fuzz once found', () => {
    const post = (path: string, raw: string) => caller(() => service)('POST', path, { raw });

    test('a member named by half of a surrogate pair is refused, not a 500', async () => {
      const answer = await post(HOOKS, '{"url":"https://example.com/","events":["*"],"\\ud800":1}');
      assertProblem(answer, 422, 'validation-failed');
      assert.equal(answer.json.errors[0].pointer, '#/%EF%BF%BD');
    });

    test('a path that is no URI is named in the problem as one that is', async () => {
      const answer = await rawProblem([`GET ${HOOKS}/%E0%A4%A|^[] HTTP/1.1`, AUTHORIZATION]);
      assertProblem(answer as never, 404, 'not-found');
      assert.doesNotMatch(answer.json.instance, /%(?![0-9a-f]{2})|[|^[\]]/i);
    });

    test('lengths are counted in characters, as the description does, not in halves of them', async () => {
      const body = (count: number) => ({ ...newEndpoint(), description: '\u{1F600}'.repeat(count) });
      const call = caller(() => service);
      assert.equal((await call('POST', HOOKS, { body: body(500) })).status, 201);
      assertProblem(await call('POST', HOOKS, { body: body(501) }), 422, 'validation-failed');
    });

    test("a host's label that ends in a hyphen is no part of an email address", async () => {
      const answer = await post('/api/v1/notifications', '{"email":"a@b-.example","type":"a.b","data":{}}');
      assertProblem(answer, 422, 'validation-failed');
    });

    test('data that is nested deeper than anyone can follow is refused, not a 500', async () => {
      const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
      const send = (depth: number) =>
        post('/api/v1/notifications', `{"email":"a@example.com","type":"a.b","data":{"deep":${nested(depth)}}}`);
      assert.equal((await send(50)).status, 202);
      for (const depth of [1000, 5000, 30_000]) assertProblem(await send(depth), 422, 'validation-failed');
    });
  });
});
