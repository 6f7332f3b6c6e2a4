import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertProblem, type Call, caller, type Target, unique } from './target.ts';

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** A collection: its path, a new item as POST takes it, and a change of that item as PUT takes it. */
type Resource<T extends object> = {
  path: string;
  /** May create what the item refers to. */
  make: (call: Call) => T | Promise<T>;
  change: (body: T, call: Call) => T | Promise<T>;
};

/** Tests what a client may rely on in every collection. */
export function resource<T extends object>(target: () => Target, { path: list, make, change }: Resource<T>): void {
  async function created(call: Call) {
    const body = await make(call);
    const answer = await call('POST', list, { body });
    assert.equal(answer.status, 201, answer.text);
    return { body, ...(answer.json as { id: string }) };
  }

  describe(list, () => {
    // A caller for each test: creating what an item refers to counts against its rate limit, too.
    test('one is created, read, replaced and deleted', async () => {
      const call = caller(target);
      const body = await make(call);
      const made = await call('POST', list, { body });
      assert.equal(made.status, 201, made.text);
      // The secret is shown once.
      const { secret: _, ...shown } = made.json;
      const { id } = shown;
      assert.match(id, ID);
      assert.match(shown.createdAt, TIME);
      assert.deepEqual({ ...shown, ...body, version: 1, updatedAt: shown.createdAt }, shown);
      assert.equal(made.headers.get('location'), `${list}/${id}`);
      assert.equal(made.headers.get('etag'), '"1"');

      const read = await call('GET', `${list}/${id}`);
      assert.equal(read.status, 200);
      assert.deepEqual(read.json, shown);
      assert.equal(read.headers.get('etag'), '"1"');

      const changed = await change(body, call);
      const replaced = await call('PUT', `${list}/${id}`, { body: changed });
      assert.equal(replaced.status, 200, replaced.text);
      const { updatedAt } = replaced.json;
      assert.deepEqual(replaced.json, { ...shown, ...changed, version: 2, updatedAt });
      assert.equal(replaced.headers.get('etag'), '"2"');

      const deleted = await call('DELETE', `${list}/${id}`);
      assert.equal(deleted.status, 204);
      assert.equal(deleted.text, '');
      assertProblem(await call('GET', `${list}/${id}`), 404, 'not-found');
      assertProblem(await call('DELETE', `${list}/${id}`), 404, 'not-found');
      assertProblem(await call('PUT', `${list}/${id}`, { body }), 404, 'not-found');
    });

    test('pages follow each other to the end, in order of creation, each item once', async () => {
      const call = caller(target);
      const mine: string[] = [];
      for (let i = 0; i < 5; i++) mine.push((await created(call)).id);
      const seen: string[] = [];
      let path: string | undefined = `${list}?limit=2`;
      while (path) {
        const page = await call('GET', path);
        assert.equal(page.status, 200, page.text);
        assert.deepEqual(Object.keys(page.json), ['data', 'nextCursor']);
        seen.push(...page.json.data.map(({ id }: { id: string }) => id));
        const link = page.headers.get('link');
        if (page.json.nextCursor === null) assert.equal(link, null);
        else assert.match(link ?? '', /^<[^>]+>; rel="next"$/);
        const next = /<([^>]+)>/.exec(link ?? '')?.[1];
        if (next) assert.equal(new URL(next, target().url).searchParams.get('cursor'), page.json.nextCursor);
        // Other tests create items meanwhile: only ours have to be there, once and in order.
        path = next && new URL(next, target().url).pathname + new URL(next, target().url).search;
        if (mine.every((id) => seen.includes(id))) break;
      }
      assert.deepEqual(
        seen.filter((id) => mine.includes(id)),
        mine,
      );
      assert.equal(new Set(seen).size, seen.length);
    });

    test('a cursor that was tampered with, or belongs to another list, is refused', async () => {
      const call = caller(target);
      for (let i = 0; i < 3; i++) await created(call);
      const { nextCursor } = (await call('GET', `${list}?limit=1`)).json;
      for (let i = 0; i < nextCursor.length; i += 5) {
        const changed = nextCursor[i] === 'A' ? 'B' : 'A';
        const cursor = nextCursor.slice(0, i) + changed + nextCursor.slice(i + 1);
        assertProblem(await call('GET', `${list}?limit=1&cursor=${cursor}`), 400, 'invalid-cursor');
      }
      for (const cursor of ['', 'x', '%00', `${nextCursor}A`, nextCursor.slice(1)]) {
        assertProblem(await call('GET', `${list}?cursor=${cursor}`), 400, 'invalid-cursor');
      }
      for (const query of ['', 'channel=email&']) {
        const elsewhere = `/api/v1/notifications?${query}cursor=${nextCursor}`;
        assertProblem(await call('GET', elsewhere), 400, 'invalid-cursor');
      }
    });

    test('If-None-Match spares an unchanged body, and If-Match, which only a write has, refuses a lost update', async () => {
      const call = caller(target);
      const { id, body } = await created(call);
      const path = `${list}/${id}`;
      for (const tag of ['"1"', 'W/"1"', '*', '"7", "1"']) {
        const same = await call('GET', path, { headers: { 'If-None-Match': tag } });
        assert.equal(same.status, 304, tag);
        assert.equal(same.text, '');
        assert.equal(same.headers.get('etag'), '"1"');
      }
      assert.equal((await call('GET', path, { headers: { 'If-None-Match': '"2"' } })).status, 200);

      const changed = await change(body, call);
      const put = (tag: string, to = path) => call('PUT', to, { body: changed, headers: { 'If-Match': tag } });
      assert.equal((await put('"1"')).status, 200);
      assertProblem(await put('"1"'), 412, 'precondition-failed');
      assertProblem(await put('W/"2"'), 412, 'precondition-failed');
      assert.equal((await put('"1", "2"')).status, 200);
      assert.equal((await put('*')).status, 200);
      assertProblem(await put('"1"', `${list}/01900000-0000-7000-8000-000000000000`), 404, 'not-found');
      assertProblem(await put('nonsense'), 422, 'validation-failed');
      for (const method of ['PUT', 'DELETE']) {
        const body = method === 'PUT' ? changed : undefined;
        const refused = await call(method, path, { body, headers: { 'If-None-Match': '*' } });
        assertProblem(refused, 422, 'validation-failed');
        const parameters = refused.json.errors.map(({ parameter }: { parameter: string }) => parameter);
        assert.deepEqual(parameters, ['If-None-Match']);
      }
      const remove = (tag: string) => call('DELETE', path, { headers: { 'If-Match': tag } });
      assertProblem(await remove('"1"'), 412, 'precondition-failed');
      assert.equal((await remove('"4"')).status, 204);
    });

    test('a repeated POST under one Idempotency-Key has one effect and the same answer', async () => {
      const call = caller(target);
      const body = await make(call);
      const key = `"${unique()}"`;
      const post = (headers: Record<string, string>, of: unknown = body) => call('POST', list, { body: of, headers });
      const first = await post({ 'Idempotency-Key': key });
      assert.equal(first.status, 201);
      assert.equal(first.headers.get('idempotent-replayed'), null);
      for (const repeat of [key, key.slice(1, -1)]) {
        const again = await post({ 'Idempotency-Key': repeat });
        assert.equal(again.status, 201);
        assert.equal(again.text, first.text);
        assert.equal(again.headers.get('idempotent-replayed'), 'true');
        assert.equal(again.headers.get('location'), first.headers.get('location'));
        assert.equal(again.headers.get('etag'), first.headers.get('etag'));
      }
      assertProblem(await post({ 'Idempotency-Key': key }, await change(body, call)), 422, 'idempotency-key-reused');
      const stranger = caller(target);
      const theirs = await stranger('POST', list, { body: await make(stranger), headers: { 'Idempotency-Key': key } });
      assert.equal(theirs.status, 201);
      for (const bad of ['""', '"unclosed', 'two words', 'x'.repeat(256), '"é"', 'a,b']) {
        assertProblem(await post({ 'Idempotency-Key': bad }), 400, 'invalid-idempotency-key');
      }
    });

    test('a refused request leaves no claim on its key', async () => {
      const call = caller(target);
      const headers = { 'Idempotency-Key': unique() };
      const refused = await call('POST', list, { body: { ...(await make(call)), unknown: 1 }, headers });
      assertProblem(refused, 422, 'validation-failed');
      assert.equal((await call('POST', list, { body: await make(call), headers })).status, 201);
    });
  });
}
