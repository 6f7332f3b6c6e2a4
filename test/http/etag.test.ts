import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Hono } from 'hono';
import type { Env } from '../../src/http/context.ts';
import { conditional, etagOf, ifMatch } from '../../src/http/etag.ts';
import { onError } from '../../src/http/problem.ts';
import { testDeps } from '../support/deps.ts';

const app = new Hono<Env>();
app.onError(onError(() => ({})));
app.get('/thing', (c) => conditional(c, { version: 7 }));
app.put('/thing', (c) => c.json({ versions: ifMatch(c) }));

const get = (tags?: string) =>
  app.request('/thing', { headers: tags === undefined ? {} : { 'If-None-Match': tags } }, testDeps());
const put = (tags?: string) =>
  app.request('/thing', { method: 'PUT', headers: tags === undefined ? {} : { 'If-Match': tags } }, testDeps());

describe('If-None-Match', () => {
  test('spares the body where it names the version, weakly or not, in a list or as *', async () => {
    for (const tags of ['"7"', 'W/"7"', '*', '"1", "7"', '"1",W/"7" , "x"', ' "7" ', ',, "7",']) {
      const response = await get(tags);
      assert.equal(response.status, 304, tags);
      assert.equal(await response.text(), '');
      assert.equal(response.headers.get('etag'), etagOf(7));
      assert.equal(response.headers.get('cache-control'), 'private, no-cache, no-transform');
    }
  });

  test('is passed over where it names another version or makes no sense', async () => {
    for (const tags of [undefined, '"8"', '7', '"77"', 'w/"7"', '"7', '"7" "7"', '', '"*"', '"7"; x']) {
      const response = await get(tags);
      assert.equal(response.status, 200, tags);
      assert.equal(response.headers.get('etag'), '"7"');
      assert.deepEqual(await response.json(), { version: 7 });
    }
  });
});

describe('If-Match', () => {
  const versionsOf = async (tags?: string) => ((await (await put(tags)).json()) as { versions: unknown }).versions;

  test('allows every version without it or with *', async () => {
    assert.equal(await versionsOf(), null);
    assert.equal(await versionsOf('*'), null);
  });

  test('allows the versions that it names strongly, and no others', async () => {
    assert.equal(await versionsOf('"7"'), '{7}');
    assert.equal(await versionsOf('"1", "2","3"'), '{1,2,3}');
    assert.equal(await versionsOf('W/"7"'), '{}');
    assert.equal(await versionsOf('W/"1", "2"'), '{2}');
    // Tags that were never issued match nothing and never reach Postgres: they are opaque, whatever number they are.
    assert.equal(await versionsOf('"abc", "99999999999999999999", "-1", "1,2", "}"'), '{}');
    assert.equal(await versionsOf('"07", "7.0", "0", "00", "+7"'), '{}');
  });

  test('that makes no sense is refused by name', async () => {
    for (const tags of ['7', '"7', '"7" "8"', 'nonsense', 'W/7', '"1", x', '', ',']) {
      const response = await put(tags);
      assert.equal(response.status, 422, tags);
      const { errors } = (await response.json()) as { errors: { parameter: string }[] };
      assert.deepEqual(
        errors.map(({ parameter }) => parameter),
        ['If-Match'],
      );
    }
  });

  test('is the only precondition of a write: If-None-Match is refused, whatever it says', async () => {
    for (const tags of ['*', '"7"', '']) {
      const response = await app.request(
        '/thing',
        { method: 'PUT', headers: { 'If-Match': '"7"', 'If-None-Match': tags } },
        testDeps(),
      );
      assert.equal(response.status, 422, tags);
      const { errors } = (await response.json()) as { errors: { parameter: string }[] };
      assert.deepEqual(
        errors.map(({ parameter }) => parameter),
        ['If-None-Match'],
      );
    }
  });
});
