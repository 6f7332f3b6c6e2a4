import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertSigned, type Hook, type Sink, startSink } from '../support/sink.ts';
import { assertProblem, type Call, caller, type Target, unique, uniqueEmail } from './target.ts';

const USERS = '/api/v1/users';
const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';
const UNKNOWN = '01900000-0000-7000-8000-000000000000';

const newUser = () => ({ email: uniqueEmail(), name: 'Ada Lovelace' });

async function created(call: Call, body = newUser()) {
  const answer = await call('POST', USERS, { body });
  assert.equal(answer.status, 201, answer.text);
  return answer.json as { id: string; email: string; name: string; version: number };
}

export function users(target: () => Target): void {
  describe('users', () => {
    const call = caller(target);

    test('a user is shown with an id, an address, a name, a version and times', async () => {
      const user = await created(call);
      assert.deepEqual(Object.keys(user), ['id', 'email', 'name', 'version', 'createdAt', 'updatedAt']);
    });

    test('a taken email is a conflict without regard to case', async () => {
      const { email } = await created(call);
      const other = await created(call);
      const body = { email: email.toUpperCase(), name: 'Other' };
      assertProblem(await call('POST', USERS, { body }), 409, 'email-taken');
      assertProblem(await call('PUT', `${USERS}/${other.id}`, { body }), 409, 'email-taken');
    });

    test('a user is found by email, and nobody else', async () => {
      const user = await created(call);
      const found = await call('GET', `${USERS}?email=${user.email.toUpperCase()}`);
      assert.deepEqual(
        found.json.data.map(({ id }: { id: string }) => id),
        [user.id],
      );
      assert.equal(found.json.nextCursor, null);
      const none = await call('GET', `${USERS}?email=${uniqueEmail()}`);
      assert.deepEqual(none.json, { data: [], nextCursor: null });
      assertProblem(await call('GET', `${USERS}?email=%00@x.yz`), 422, 'validation-failed');
    });

    test('a cursor of all users is none of those with an email', async () => {
      for (let i = 0; i < 2; i++) await created(call);
      const { nextCursor } = (await call('GET', `${USERS}?limit=1`)).json;
      const elsewhere = `${USERS}?email=${uniqueEmail()}&cursor=${nextCursor}`;
      assertProblem(await call('GET', elsewhere), 400, 'invalid-cursor');
    });

    test('a taken email leaves no claim on the key', async () => {
      const { email } = await created(call);
      const headers = { 'Idempotency-Key': unique() };
      const taken = await call('POST', USERS, { body: { email, name: 'Taken' }, headers });
      assertProblem(taken, 409, 'email-taken');
      assert.equal((await call('POST', USERS, { body: newUser(), headers })).status, 201);
    });

    test('values that no database should see are refused', async () => {
      const bad: [Record<string, unknown>, string][] = [
        [{ email: uniqueEmail(), name: 'a\0b' }, '#/name'],
        [{ email: uniqueEmail(), name: '\ud800' }, '#/name'],
        [{ email: uniqueEmail(), name: '' }, '#/name'],
        [{ email: uniqueEmail(), name: 'x'.repeat(201) }, '#/name'],
        [{ email: `${'a'.repeat(388)}@example.com`, name: 'x' }, '#/email'],
        [{ email: 'a\0@example.com', name: 'x' }, '#/email'],
      ];
      for (const [body, pointer] of bad) {
        const answer = await call('POST', USERS, { body });
        assertProblem(answer, 422, 'validation-failed');
        assert.deepEqual(
          new Set(answer.json.errors.map((error: { pointer: string }) => error.pointer)),
          new Set([pointer]),
        );
      }
    });
  });

  describe('what becomes of a user', () => {
    let sink: Sink;
    before(async () => {
      sink = await startSink();
    });
    after(() => sink.close());

    async function endpoint(call: Call, events: string[]) {
      const path = `/${unique()}`;
      const answer = await call('POST', HOOKS, { body: { url: sink.url(path), events } });
      assert.equal(answer.status, 201, answer.text);
      return { path, ...(answer.json as { id: string; secret: string }) };
    }

    test('is told to whoever subscribed to it, signed, with the user as GET shows it', async () => {
      const call = caller(target);
      const hears = await endpoint(call, ['user.created', 'user.updated', 'user.deleted']);
      const other = await endpoint(call, ['user.deleted']);
      const user = await created(call);
      const [first] = await sink.received(hears.path);
      assertSigned(first as Hook, hears.secret);
      const { type, timestamp, data } = JSON.parse(first?.body ?? '');
      assert.equal(type, 'user.created');
      assert.match(timestamp, /Z$/);
      assert.deepEqual(data, user);

      const body = { email: user.email, name: 'Hopper' };
      const changed = (await call('PUT', `${USERS}/${user.id}`, { body })).json;
      await call('DELETE', `${USERS}/${user.id}`);
      const all = await sink.received(hears.path, 3);
      const told = Object.fromEntries(all.map((hook) => JSON.parse(hook.body)).map((each) => [each.type, each.data]));
      assert.deepEqual(told, { 'user.created': user, 'user.updated': changed, 'user.deleted': changed });
      const [deleted] = await sink.received(other.path);
      assert.equal(JSON.parse(deleted?.body ?? '').type, 'user.deleted');
      assert.equal(sink.hooks.filter((hook) => hook.path === other.path).length, 1);
    });

    test('and what the user is told is listed by the user', async () => {
      const call = caller(target);
      const type = `test.t${unique()}`;
      const hook = await endpoint(call, [type]);
      const { id: userId } = await created(call);
      const asked = await call('POST', NOTIFICATIONS, { body: { userId, type, data: {} } });
      assert.equal(asked.status, 202, asked.text);
      assert.equal(asked.json.userId, userId);
      const [told] = await sink.received(hook.path);
      const id = told?.headers['webhook-id'] as string;
      assert.equal((await call('GET', `${NOTIFICATIONS}/${id}`)).json.userId, userId);
      const listed = async (query: string): Promise<string[]> => {
        const { data } = (await call('GET', `${NOTIFICATIONS}?userId=${userId}&${query}`)).json;
        return data.filter((each: { type: string }) => each.type === type).map((each: { id: string }) => each.id);
      };
      assert.deepEqual(await listed(''), [asked.json.id, id].sort().reverse());
      assert.deepEqual(await listed('channel=email'), [asked.json.id]);
      assert.deepEqual(await listed('channel=webhook'), [id]);
    });
  });

  describe('a notification to a user', () => {
    const call = caller(target);
    const notice = (to: object) => ({ ...to, type: 'a.b', data: {} });

    test('without one, or an address, names the user beside all else that is missing', async () => {
      for (const [body, pointers] of [
        [{}, ['#/data', '#/type', '#/userId']],
        [{ type: 'a.b', data: {} }, ['#/userId']],
        [{ userId: 7, data: {} }, ['#/type', '#/userId']],
      ] as const) {
        const answer = await caller(target)('POST', '/api/v1/notifications', { body });
        assertProblem(answer, 422, 'validation-failed');
        assert.deepEqual(answer.json.errors.map((error: { pointer: string }) => error.pointer).sort(), pointers);
      }
    });

    test('is refused where there is no such user, and where an address stands beside it', async () => {
      const nobody = await call('POST', NOTIFICATIONS, { body: notice({ userId: UNKNOWN }) });
      assertProblem(nobody, 422, 'validation-failed');
      assert.equal(nobody.json.errors[0].pointer, '#/userId');
      const both = await call('POST', NOTIFICATIONS, { body: notice({ userId: UNKNOWN, email: uniqueEmail() }) });
      assertProblem(both, 422, 'validation-failed');
      assertProblem(
        await call('POST', NOTIFICATIONS, { body: notice({ userId: 'nobody' }) }),
        422,
        'validation-failed',
      );
    });

    test('names the user in upper case as well, and so do a filter and a cursor that was given out for either', async () => {
      const { id } = await created(call);
      const upper = id.toUpperCase();
      for (let i = 0; i < 2; i++) {
        const made = await call('POST', NOTIFICATIONS, { body: notice({ userId: upper }) });
        assert.equal(made.json.userId, id);
      }
      const [first, same] = [
        await call('GET', `${NOTIFICATIONS}?limit=1&userId=${upper}`),
        await call('GET', `${NOTIFICATIONS}?limit=1&userId=${id}`),
      ];
      assert.equal(first.json.nextCursor, same.json.nextCursor);
      assert.ok(first.headers.get('link')?.includes(id));
      for (const userId of [upper, id]) {
        const next = await call('GET', `${NOTIFICATIONS}?userId=${userId}&cursor=${first.json.nextCursor}`);
        assert.equal(next.status, 200, next.text);
        assert.ok(next.json.data.every((each: { userId: string }) => each.userId === id));
      }
      const max = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
      for (const userId of [max, max.toUpperCase()]) {
        assert.deepEqual((await call('GET', `${NOTIFICATIONS}?userId=${userId}`)).json.data, []);
      }
    });

    test('that names the user in upper case is no other request under the same Idempotency-Key', async () => {
      const { id } = await created(call);
      const headers = { 'Idempotency-Key': unique() };
      const [first, again] = [
        await call('POST', NOTIFICATIONS, { body: notice({ userId: id }), headers }),
        await call('POST', NOTIFICATIONS, { body: notice({ userId: id.toUpperCase() }), headers }),
      ];
      assert.equal(first.status, 202, first.text);
      assert.deepEqual([again.status, again.text], [first.status, first.text]);
      assert.equal(again.headers.get('idempotent-replayed'), 'true');
    });
  });
}
