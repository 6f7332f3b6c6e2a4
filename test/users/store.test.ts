import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sql } from 'drizzle-orm';
import { v7 as uuidv7 } from 'uuid';
import { type Db, statement } from '../../src/db.ts';
import { advanceJob } from '../../src/dispatcher/jobs.ts';
import { createUser, findUser, listUsers, removeUser, updateUser } from '../../src/users/store.ts';
import { apiOn } from '../support/api.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { inTime } from '../support/deps.ts';

const signal = new AbortController().signal;

function newUser(email: string, key: string | null = null) {
  const now = new Date().toISOString();
  return {
    id: uuidv7(),
    email,
    name: 'Someone',
    createdAt: now,
    updatedAt: now,
    keySubject: 'tester',
    keyRoute: 'POST /users',
    key: key,
    keyInput: 'the same',
    keyHolder: crypto.randomUUID(),
    keyResponse: JSON.stringify({ email }),
  };
}

const told = statement<{ email: string }, { type: string; channel: string; body: string; status: string }>(
  'test.told',
  ($) => sql`
    select m.type, n.channel, m.body, case when d.notification_id is null then 'finished' else 'queued' end as status
    from notifications n join messages m on m.id = n.message_id
    left join deliveries d on d.notification_id = n.id
    where m.body like '%' || ${$.email}::text || '%' order by n.id`,
);

const counts = statement<
  Record<never, never>,
  { users: number; messages: number; notifications: number; keys: number }
>(
  'test.counts',
  () => sql`
    select (select count(*) from users)::int as users, (select count(*) from messages)::int as messages,
           (select count(*) from notifications)::int as notifications,
           (select count(*) from idempotency_keys)::int as keys`,
);

async function countAll(db: Db) {
  return (await db.run(counts, {}, inTime()))[0];
}

onEveryDatabase('users store', (db) => {
  test('a user is created with its welcome email queued', async () => {
    const user = newUser('one@example.com');
    const row = await createUser(db, user, signal);
    assert.equal(row.fresh, true);
    const found = await findUser(db, user.id, signal);
    assert.deepEqual(found, {
      id: user.id,
      email: 'one@example.com',
      name: 'Someone',
      version: 1,
      createdAt: user.createdAt,
      updatedAt: user.updatedAt,
    });
    const [email, ...others] = await db.run(told, { email: user.email }, inTime());
    assert.deepEqual(others, []);
    assert.equal(email?.channel, 'email');
    assert.equal(email?.status, 'queued');
    const { type, data, timestamp } = JSON.parse(email?.body ?? '');
    assert.equal(type, 'user.created');
    assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(data, {
      id: user.id,
      email: 'one@example.com',
      name: 'Someone',
      version: 1,
      createdAt: user.createdAt,
      updatedAt: user.updatedAt,
    });
  });

  test('a taken email is refused without regard to case, and leaves nothing behind', async () => {
    await createUser(db, newUser('taken@example.com'), signal);
    const before = await countAll(db);
    await assert.rejects(createUser(db, newUser('TAKEN@Example.com', 'a-key'), signal), {
      constraint: /^users_email_/,
    });
    assert.deepEqual(await countAll(db), before);
  });

  test('concurrent creations under one key have one effect and one answer', async () => {
    const before = await countAll(db);
    const all = Array.from({ length: 20 }, () => newUser('many@example.com', 'key-of-many'));
    const rows = await Promise.all(all.map((user) => createUser(db, user, signal)));
    assert.equal(rows.filter((row) => row.fresh).length, 1);
    assert.equal(new Set(rows.map((row) => row.response)).size, 1);
    const after = await countAll(db);
    assert.equal((after?.users ?? 0) - (before?.users ?? 0), 1);
    assert.equal((after?.notifications ?? 0) - (before?.notifications ?? 0), 1);
    assert.equal((after?.keys ?? 0) - (before?.keys ?? 0), 1);
  });

  test('a key that is older than a day is taken over', async () => {
    await createUser(db, newUser('old@example.com', 'old-key'), signal);
    await db.run(
      statement<{ key: string }, never>(
        'test.age',
        ($) => sql`update idempotency_keys set created_at = now() - interval '25 hours' where key = ${$.key}::text`,
      ),
      { key: 'old-key' },
      inTime(),
    );
    const row = await createUser(db, newUser('new@example.com', 'old-key'), signal);
    assert.equal(row.fresh, true);
    assert.equal(row.response, JSON.stringify({ email: 'new@example.com' }));
  });

  test('a replacement raises the version and is refused for another version, a missing user, or a taken email', async () => {
    const user = newUser('replaced@example.com');
    await createUser(db, user, signal);
    await createUser(db, newUser('other@example.com'), signal);
    const now = new Date().toISOString();
    const change = { id: user.id, versions: '{1}', email: 'replaced@example.com', name: 'New', now };
    const changed = await updateUser(db, change, signal);
    assert.equal(changed.version, 2);
    assert.equal(changed.name, 'New');
    await assert.rejects(updateUser(db, change, signal), { code: 'precondition-failed' });
    await assert.rejects(updateUser(db, { ...change, versions: '{}' }, signal), { code: 'precondition-failed' });
    await assert.rejects(updateUser(db, { ...change, id: uuidv7() }, signal), { code: 'not-found' });
    await assert.rejects(updateUser(db, { ...change, versions: null, email: 'Other@example.com' }, signal), {
      constraint: /^users_email_/,
    });
    assert.equal((await updateUser(db, { ...change, versions: '{7,2}' }, signal)).version, 3);
  });

  test('a deletion is refused for another version, and a deleted user is gone', async () => {
    const user = newUser('deleted@example.com');
    await createUser(db, user, signal);
    await assert.rejects(removeUser(db, { id: user.id, versions: '{2}' }, signal), { code: 'precondition-failed' });
    await removeUser(db, { id: user.id, versions: null }, signal);
    await assert.rejects(findUser(db, user.id, signal), { code: 'not-found' });
    await assert.rejects(removeUser(db, { id: user.id, versions: null }, signal), { code: 'not-found' });
  });

  test('users are listed in order of creation, page by page, and found by email', async () => {
    const all: string[] = [];
    for (let after: string | null = null; ; ) {
      const rows = await listUsers(db, { after, limit: 2, email: undefined }, signal);
      const page = rows.slice(0, 2);
      all.push(...page.map((user) => user.id));
      if (rows.length <= 2) break;
      after = page[1]?.id ?? null;
    }
    assert.deepEqual(all, [...all].sort());
    assert.equal(all.length, (await countAll(db))?.users);
    const found = await listUsers(db, { after: null, limit: 2, email: 'ONE@example.com' }, signal);
    assert.deepEqual(
      found.map((user) => user.email),
      ['one@example.com'],
    );
  });

  test("what was queued for one user is canceled, and nobody else's", async () => {
    const [one, other] = [newUser('canceled@example.com'), newUser('kept@example.com')];
    for (const user of [one, other]) await createUser(db, user, signal);
    const call = apiOn(db);
    const { status, json } = await call('POST', '/notifications/cancel', { body: { filter: { userId: one.id } } });
    assert.deepEqual([status, json.matching], [202, 1]);
    while (await advanceJob(db, signal));
    const statuses = async (id: string) =>
      (await call('GET', `/notifications?userId=${id}`)).json.data.map((each: { status: string }) => each.status);
    assert.deepEqual([await statuses(one.id), await statuses(other.id)], [['canceled'], ['pending']]);
  });
});
