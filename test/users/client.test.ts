import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createClient, type Item, Problem } from '../../src/client.ts';
import { uniqueEmail } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';

describe('the typed client', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;
  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url });
  });
  after(async () => {
    await service.stop();
    await database.drop();
  });

  const client = (own: Parameters<typeof createClient>[1]['fetch'] = fetch) =>
    createClient(service.url, { token: token(), fetch: own });

  test('creates, reads, replaces, finds and removes a user, with the types of the app', async () => {
    const { users } = client();
    const email = uniqueEmail();
    const user: Item<'users'> = await users.create({ email, name: 'Ada' });
    assert.deepEqual(await users.get(user.id), user);
    // @ts-expect-error: a user has no such member
    assert.equal(user.nonsense, undefined);
    // @ts-expect-error: a user needs a name
    await assert.rejects(users.create({ email: uniqueEmail() }), Problem);

    const changed = await users.replace(user.id, { email, name: 'Countess' }, { version: user.version });
    assert.equal(changed.version, 2);
    const found: Item<'users'>[] = (await users.page({ email })).data;
    assert.deepEqual(found, [changed]);
    await users.remove(user.id, { version: changed.version });
    await assert.rejects(users.get(user.id), (error) => error instanceof Problem && error.code === 'not-found');
  });

  test('that is answered after an answer was lost has made one user with one set of notifications', async () => {
    let asked = 0;
    const { users } = client(async (...request) => {
      const response = await fetch(...request);
      if (++asked > 1) return response;
      await response.arrayBuffer();
      throw new TypeError('lost');
    });
    const email = uniqueEmail();
    const { id } = await users.create({ email, name: 'Once' });
    assert.equal(asked, 2);
    const made = 'select id, (select count(*)::int from notifications where user_id = u.id) as told from users u';
    assert.deepEqual(await query(database.name, `${made} where email = $1`, [email]), [{ id, told: 1 }]);
  });

  test('finds what a user was told by the user', async () => {
    const { users, notifications } = client();
    const { id: userId } = await users.create({ email: uniqueEmail(), name: 'Ada' });
    const told = await notifications.create({ userId, type: 'order.sent', data: {} });
    const ids: string[] = [];
    for await (const { id } of notifications.list({ userId, channel: 'email' })) ids.push(id);
    assert.equal(ids.length, 2);
    assert.ok(ids.includes(told.id));
  });
});
