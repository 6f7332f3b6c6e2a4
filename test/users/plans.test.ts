// How Postgres runs the statements of users, on tables large enough to use an index.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../../src/db.ts';
import { createNotification, type Filters, listNotifications } from '../../src/notifications/store.ts';
import { createUser, listUsers, removeUser, updateUser } from '../../src/users/store.ts';
import { indexes, scans, withPlans } from '../support/plans.ts';

const signal = new AbortController().signal;
const USER = '01900000-0000-7000-8000-000000000000';
const EMAIL = 'user-1@example.com';

// 20,000 users, the recipients of all notifications; three endpoints subscribe to changes of users.
const USERS = [
  `insert into users select case i when 0 then '${USER}' else uuid_v7() end, 'user-' || i || '@example.com', 'x', 1,
     now(), now() from generate_series(0, 19999) i`,
  `update notifications n set user_id = u.id
   from (select id, row_number() over () as n from notifications) m
   join (select id, row_number() over () as n from users) u on u.n = m.n % 20000 + 1 where n.id = m.id`,
  `update webhook_endpoints set events = events || '{user.created,user.updated,user.deleted}'
   where 'order.sent' = any(events)`,
];

describe('plans', () => {
  const plansOf = withPlans(USERS);

  const reservation = {
    ...{ keySubject: 's', keyRoute: 'r', key: 'k', keyInput: 'f', keyResponse: '{}' },
    keyHolder: USER,
  };
  const now = new Date().toISOString();
  const user = { id: USER, email: EMAIL, name: 'x', createdAt: now, updatedAt: now };
  const writes: Record<string, (db: Db) => Promise<unknown>> = {
    'creates a user': (db) => createUser(db, { ...user, ...reservation }, signal),
    'changes a user': (db) => updateUser(db, { ...user, versions: null, now }, signal),
    'deletes a user': (db) => removeUser(db, { id: USER, versions: null }, signal),
    'tells a user something': (db) =>
      createNotification(
        db,
        { id: uuidv7(), userId: USER, email: null, type: 'order.sent', data: {}, ...reservation },
        signal,
      ),
  };
  for (const [what, use] of Object.entries(writes)) {
    test(`a write that ${what} finds its subscribers by the index of events`, async () => {
      for (const [mode, nodes] of await plansOf(use)) {
        assert.ok(indexes(nodes).includes('webhook_endpoints_events'), `${mode}: ${indexes(nodes)}`);
        for (const table of ['webhook_endpoints', 'users']) {
          assert.ok(!scans(nodes, table).includes('Seq Scan'), `${mode}: ${table} is read whole`);
        }
      }
    });
  }

  test('users are found by email, in whatever case, by its index', async () => {
    const page = { after: null, limit: 20, email: EMAIL.toUpperCase() };
    for (const use of [
      (db: Db) => listUsers(db, page, signal),
      (db: Db) => updateUser(db, { ...user, versions: null, now }, signal),
    ]) {
      for (const [mode, nodes] of await plansOf(use)) {
        assert.ok(indexes(nodes).includes('users_email_caseless'), `${mode}: ${indexes(nodes)}`);
      }
    }
  });

  for (const status of [undefined, 'pending', 'sent', 'dead', 'canceled'] as const) {
    for (const channel of [undefined, 'email', 'webhook'] as const) {
      const filters: Filters = { status, channel, userId: USER };
      const named = Object.entries(filters).flatMap(([name, value]) => (value ? `${name} ${value}` : []));
      test(`a list of notifications by ${named.join(', ')} reads no table whole`, async () => {
        const page = { ...filters, after: null, limit: 20 };
        for (const [mode, nodes] of await plansOf((db) => listNotifications(db, page, signal))) {
          for (const table of ['notifications', 'outcomes', 'messages', 'attempts']) {
            assert.ok(!scans(nodes, table).includes('Seq Scan'), `${mode}: ${table} is read whole`);
          }
          assert.ok(indexes(nodes).includes('notifications_user'), `${mode}: ${indexes(nodes)}`);
        }
      });
    }
  }
});
