import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Sink, startSink } from '../support/sink.ts';
import { type Answer, assertProblem, caller, type Target, unique } from './target.ts';

const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';

const pointersOf = ({ json }: Answer): string[] => json.errors.map(({ pointer }: { pointer: string }) => pointer);

/** Tests what clients write where the same can be written in two ways, or where nobody has written it before. */
export function words(target: () => Target): void {
  let sink: Sink;
  before(async () => {
    sink = await startSink();
  });
  after(() => sink.close());

  const make = async (path: string, body: object) => {
    const answer = await caller(target)('POST', path, { body });
    assert.equal(answer.status, path === NOTIFICATIONS ? 202 : 201, answer.text);
    return answer.json;
  };
  const newHook = (events = ['nothing.ever']) => make(HOOKS, { url: sink.url(`/${unique()}`), events });

  describe('ids in upper case', () => {
    test('in a path are the same resource, which is answered in lower case', async () => {
      const call = caller(target);
      const { id, url } = await newHook();
      const upper = `${HOOKS}/${id.toUpperCase()}`;
      const read = await call('GET', upper);
      assert.deepEqual([read.status, read.json.id], [200, id]);
      assert.equal(read.headers.get('etag'), '"1"');
      assert.equal((await call('GET', upper, { headers: { 'If-None-Match': '"1"' } })).status, 304);
      const body = { url, events: ['nothing.ever'], description: 'Another' };
      const changed = await call('PUT', upper, { body, headers: { 'If-Match': '"1"' } });
      assert.deepEqual([changed.status, changed.json.id, changed.json.description], [200, id, 'Another']);
      assert.equal((await call('DELETE', upper, { headers: { 'If-Match': '"2"' } })).status, 204);
      assertProblem(await call('GET', `${HOOKS}/${id}`), 404, 'not-found');
    });

    test('in a repeat under one Idempotency-Key are no other request', async () => {
      const call = caller(target);
      const hook = await newHook();
      const both = async (write: (id: (id: string) => string) => Promise<Answer>) => {
        const [first, again] = [await write((id) => id), await write((id) => id.toUpperCase())];
        assert.ok(first.status < 300, first.text);
        assert.deepEqual([again.status, again.text], [first.status, first.text]);
        assert.equal(again.headers.get('idempotent-replayed'), 'true');
      };
      const headers = { 'Idempotency-Key': unique() };
      for (const verb of ['rotate-secret', 'test']) {
        await both((as) => call('POST', `${HOOKS}/${as(hook.id)}/${verb}`, { headers }));
      }
    });
  });

  describe('entity tags', () => {
    test('are compared as they are written, and are no numbers', async () => {
      const call = caller(target);
      const hook = await newHook();
      const [path, body] = [`${HOOKS}/${hook.id}`, { url: hook.url, events: ['nothing.ever'] }];
      const others = ['"01"', '"001"', '"+1"', '"1.0"', '"1e0"', '"0x1"', 'W/"1"', '"01", "10"', '"02",W/"1"', '""'];
      for (const tag of others) {
        const headers = { 'If-Match': tag };
        assertProblem(await call('PUT', path, { body, headers }), 412, 'precondition-failed');
        assertProblem(await call('DELETE', path, { headers }), 412, 'precondition-failed');
        if (tag.includes('W/')) continue;
        assert.equal((await call('GET', path, { headers: { 'If-None-Match': tag } })).status, 200, tag);
      }
      assert.equal((await call('GET', path)).headers.get('etag'), '"1"');
      const headers = { 'If-Match': '  "01" ,\t"1"  ' };
      assert.equal((await call('PUT', path, { body, headers })).status, 200);
    });
  });

  describe('data with names that mean something to JavaScript', () => {
    test('is refused where a member has the name of a prototype or a number is too large, at any depth, by its pointer', async () => {
      const call = caller(target);
      const send = (data: string) =>
        call('POST', NOTIFICATIONS, { raw: `{"email":"a@example.com","type":"a.b","data":${data}}` });
      const cases: [string, string[]][] = [
        ['{"__proto__":{"admin":true}}', ['#/data/__proto__']],
        ['{"__proto__":null}', ['#/data/__proto__']],
        ['{"\\u005f_proto__":1}', ['#/data/__proto__']],
        ['{"a":{"b/c":[0,{"__proto__":1}]}}', ['#/data/a/b~1c/1/__proto__']],
        ['{"x":{"__proto__":1},"y":[{"__proto__":2}]}', ['#/data/x/__proto__', '#/data/y/0/__proto__']],
        ['{"sum":1e999,"list":[-1e999,1e308]}', ['#/data/sum', '#/data/list/0']],
        [`{"deep":${'['.repeat(90)}{"__proto__":1}${']'.repeat(90)}}`, [`#/data/deep${'/0'.repeat(90)}/__proto__`]],
      ];
      for (const [data, pointers] of cases) {
        const answer = await send(data);
        assertProblem(answer, 422, 'validation-failed');
        assert.deepEqual(pointersOf(answer), pointers);
      }
      const elsewhere = await call('POST', HOOKS, {
        raw: '{"url":"https://example.com/","events":["*"],"__proto__":{}}',
      });
      assertProblem(elsewhere, 422, 'validation-failed');
      assert.deepEqual(pointersOf(elsewhere), ['#/__proto__']);
    });

    test('arrives unharmed where members are called constructor, prototype or the like', async () => {
      const call = caller(target);
      const type = `test.t${unique()}`;
      const hook = await newHook([type]);
      const inner = '{"constructor":{"prototype":{"a":1}},"prototype":[null],"toString":"x","hasOwnProperty":0,"":{}}';
      const data = `{"constructor":1,"prototype":${inner},"list":[${inner}],"toJSON":{"then":2},"valueOf":false}`;
      const asked = await call('POST', NOTIFICATIONS, {
        raw: `{"email":"a@example.com","type":"${type}","data":${data}}`,
      });
      assert.equal(asked.status, 202, asked.text);
      const [told] = await sink.received(new URL(hook.url).pathname);
      assert.equal(JSON.stringify(JSON.parse(told?.body ?? '').data), data);
    });
  });

  describe('JSON nested as deep as a body is long', () => {
    const half = 32_000;
    const open = '['.repeat(half);
    const close = ']'.repeat(half);
    const objects = (leaf: string) => `${'{"a":'.repeat(10_000)}${leaf}${'}'.repeat(10_000)}`;

    test('is refused wherever it stands, and the next request is answered', async () => {
      const call = caller(target);
      const hook = await newHook();
      const bodies = (member: string): [string, number, string][] => [
        [open + open, 400, 'malformed-json'],
        ['{"a":'.repeat(13_000), 400, 'malformed-json'],
        [open + close, 422, 'validation-failed'],
        [objects('1'), 422, 'validation-failed'],
        [`{"${member}":${open}${close}}`, 422, 'validation-failed'],
        [`{"${member}":${objects('[]')}}`, 422, 'validation-failed'],
        [`{"unknown":${open}${close}}`, 422, 'validation-failed'],
      ];
      const writes: [string, string, string[]][] = [
        ['POST', HOOKS, ['url', 'events', 'description']],
        ['PUT', `${HOOKS}/${hook.id}`, ['events']],
        ['POST', NOTIFICATIONS, ['email', 'type', 'data']],
      ];
      for (const [method, path, members] of writes) {
        for (const member of members) {
          for (const [raw, status, name] of bodies(member)) {
            assertProblem(await call(method, path, { raw }), status, name);
          }
        }
      }
      assert.equal((await call('GET', `${HOOKS}/${hook.id}`)).status, 200);
    });

    test('is refused in data by the level that it is too deep at', async () => {
      const call = caller(target);
      const send = (data: string) =>
        call('POST', NOTIFICATIONS, { raw: `{"email":"a@example.com","type":"a.b","data":{"d":${data}}}` });
      const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
      assert.equal((await send(nested(99))).status, 202);
      for (const data of [nested(100), nested(5000), nested(32_000), objects('1')]) {
        const answer = await send(data);
        assertProblem(answer, 422, 'validation-failed');
        assert.deepEqual(pointersOf(answer), ['#/data']);
      }
    });
  });
}
