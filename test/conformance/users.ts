import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertProblem, type Call, caller, type Target, unique, uniqueEmail } from './target.ts';

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

async function created(call: Call, body = { email: uniqueEmail(), name: 'Ada Lovelace' }) {
  const answer = await call('POST', '/api/v1/users', { body });
  assert.equal(answer.status, 201, answer.text);
  return answer.json as { id: string; email: string; name: string; version: number };
}

export function users(target: () => Target): void {
  describe('users', () => {
    const call = caller(target);

    test('a user is created, read, replaced and deleted', async () => {
      const email = uniqueEmail();
      const made = await call('POST', '/api/v1/users', { body: { email, name: 'Ada Lovelace' } });
      assert.equal(made.status, 201);
      const { id } = made.json;
      assert.match(id, ID);
      assert.match(made.json.createdAt, TIME);
      assert.deepEqual(Object.keys(made.json), ['id', 'email', 'name', 'version', 'createdAt', 'updatedAt']);
      assert.equal(made.headers.get('location'), `/api/v1/users/${id}`);
      assert.equal(made.headers.get('etag'), '"1"');

      const read = await call('GET', `/api/v1/users/${id}`);
      assert.equal(read.status, 200);
      assert.deepEqual(read.json, made.json);
      assert.equal(read.headers.get('etag'), '"1"');

      const replaced = await call('PUT', `/api/v1/users/${id}`, { body: { email, name: 'Countess' } });
      assert.equal(replaced.status, 200, replaced.text);
      assert.equal(replaced.json.name, 'Countess');
      assert.equal(replaced.json.version, 2);
      assert.equal(replaced.headers.get('etag'), '"2"');

      const deleted = await call('DELETE', `/api/v1/users/${id}`);
      assert.equal(deleted.status, 204);
      assert.equal(deleted.text, '');
      assertProblem(await call('GET', `/api/v1/users/${id}`), 404, 'not-found');
      assertProblem(await call('DELETE', `/api/v1/users/${id}`), 404, 'not-found');
      const body = { email, name: 'Nobody' };
      assertProblem(await call('PUT', `/api/v1/users/${id}`, { body }), 404, 'not-found');
    });

    test('a taken email is a conflict without regard to case', async () => {
      const { email } = await created(call);
      const other = await created(call);
      const body = { email: email.toUpperCase(), name: 'Other' };
      assertProblem(await call('POST', '/api/v1/users', { body }), 409, 'email-taken');
      assertProblem(await call('PUT', `/api/v1/users/${other.id}`, { body }), 409, 'email-taken');
    });

    test('pages follow each other to the end, in order of creation, each user once', async () => {
      const mine: string[] = [];
      for (let i = 0; i < 5; i++) mine.push((await created(call)).id);
      const seen: string[] = [];
      let path: string | undefined = '/api/v1/users?limit=2';
      while (path) {
        const page = await call('GET', path);
        assert.equal(page.status, 200, page.text);
        assert.deepEqual(Object.keys(page.json), ['data', 'nextCursor']);
        seen.push(...page.json.data.map((user: { id: string }) => user.id));
        const link = page.headers.get('link');
        if (page.json.nextCursor === null) assert.equal(link, null);
        else assert.match(link ?? '', /^<[^>]+>; rel="next"$/);
        const next = /<([^>]+)>/.exec(link ?? '')?.[1];
        if (next) assert.equal(new URL(next, target().url).searchParams.get('cursor'), page.json.nextCursor);
        // Other tests create users meanwhile: only ours have to be there, once and in order.
        path = next && new URL(next, target().url).pathname + new URL(next, target().url).search;
        if (mine.every((id) => seen.includes(id))) break;
      }
      assert.deepEqual(
        seen.filter((id) => mine.includes(id)),
        mine,
      );
      assert.equal(new Set(seen).size, seen.length);
    });

    test('a user is found by email, and nobody else', async () => {
      const user = await created(call);
      const found = await call('GET', `/api/v1/users?email=${user.email.toUpperCase()}`);
      assert.deepEqual(
        found.json.data.map(({ id }: { id: string }) => id),
        [user.id],
      );
      assert.equal(found.json.nextCursor, null);
      const none = await call('GET', `/api/v1/users?email=${uniqueEmail()}`);
      assert.deepEqual(none.json, { data: [], nextCursor: null });
    });

    test('a cursor that was tampered with, or belongs to another list, is refused', async () => {
      for (let i = 0; i < 3; i++) await created(call);
      const { nextCursor } = (await call('GET', '/api/v1/users?limit=1')).json;
      for (let i = 0; i < nextCursor.length; i += 5) {
        const changed = nextCursor[i] === 'A' ? 'B' : 'A';
        const cursor = nextCursor.slice(0, i) + changed + nextCursor.slice(i + 1);
        assertProblem(await call('GET', `/api/v1/users?limit=1&cursor=${cursor}`), 400, 'invalid-cursor');
      }
      for (const cursor of ['', 'x', '%00', `${nextCursor}A`, nextCursor.slice(1)]) {
        assertProblem(await call('GET', `/api/v1/users?cursor=${cursor}`), 400, 'invalid-cursor');
      }
      const elsewhere = `/api/v1/users?email=${uniqueEmail()}&cursor=${nextCursor}`;
      assertProblem(await call('GET', elsewhere), 400, 'invalid-cursor');
    });

    test('If-None-Match spares an unchanged body, and If-Match refuses a lost update', async () => {
      const { id, email } = await created(call);
      const path = `/api/v1/users/${id}`;
      for (const tag of ['"1"', 'W/"1"', '*', '"7", "1"']) {
        const same = await call('GET', path, { headers: { 'If-None-Match': tag } });
        assert.equal(same.status, 304, tag);
        assert.equal(same.text, '');
        assert.equal(same.headers.get('etag'), '"1"');
      }
      assert.equal((await call('GET', path, { headers: { 'If-None-Match': '"2"' } })).status, 200);

      const put = (tag: string, to = path) =>
        call('PUT', to, { body: { email, name: 'New' }, headers: { 'If-Match': tag } });
      assert.equal((await put('"1"')).status, 200);
      assertProblem(await put('"1"'), 412, 'precondition-failed');
      assertProblem(await put('W/"2"'), 412, 'precondition-failed');
      assert.equal((await put('"1", "2"')).status, 200);
      assert.equal((await put('*')).status, 200);
      assertProblem(await put('"1"', '/api/v1/users/01900000-0000-7000-8000-000000000000'), 404, 'not-found');
      assertProblem(await put('nonsense'), 422, 'validation-failed');
      const remove = (tag: string) => call('DELETE', path, { headers: { 'If-Match': tag } });
      assertProblem(await remove('"1"'), 412, 'precondition-failed');
      assert.equal((await remove('"4"')).status, 204);
    });

    test('a repeated POST under one Idempotency-Key has one effect and the same answer', async () => {
      const body = { email: uniqueEmail(), name: 'Once' };
      const key = `"${unique()}"`;
      const post = (headers: Record<string, string>, of: unknown = body) =>
        call('POST', '/api/v1/users', { body: of, headers });
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
      const another = { ...body, name: 'Twice' };
      assertProblem(await post({ 'Idempotency-Key': key }, another), 422, 'idempotency-key-reused');
      const stranger = caller(target);
      const theirs = await stranger('POST', '/api/v1/users', {
        body: { email: uniqueEmail(), name: 'Stranger' },
        headers: { 'Idempotency-Key': key },
      });
      assert.equal(theirs.status, 201);
      for (const bad of ['""', '"unclosed', 'two words', 'x'.repeat(256), '"é"', 'a,b']) {
        assertProblem(await post({ 'Idempotency-Key': bad }), 400, 'invalid-idempotency-key');
      }
    });

    test('a refused request leaves no claim on its key', async () => {
      const { email } = await created(call);
      const headers = { 'Idempotency-Key': unique() };
      const taken = await call('POST', '/api/v1/users', { body: { email, name: 'Taken' }, headers });
      assertProblem(taken, 409, 'email-taken');
      const other = await call('POST', '/api/v1/users', { body: { email: uniqueEmail(), name: 'Free' }, headers });
      assert.equal(other.status, 201);
    });
  });
}
