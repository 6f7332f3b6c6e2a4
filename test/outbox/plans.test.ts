// What Postgres does with the statements that must not read a whole table, on tables that are worth an index.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../../src/db.ts';
import { createNotification, type Filters, listNotifications } from '../../src/notifications/store.ts';
import { stateOf } from '../../src/system/store.ts';
import { createUser, listUsers, removeUser, updateUser } from '../../src/users/store.ts';
import { connectTo, openTestPostgres } from '../support/databases.ts';
import { noDb } from '../support/deps.ts';

const signal = new AbortController().signal;
const USER = '01900000-0000-7000-8000-000000000000';
const EMAIL = 'user-1@example.com';

// 100,000 endpoints of which three subscribe to changes of users, and none to all; 200,000 notifications to 20,000
// users, a hundred of them by email, most of them sent.
const DATA = [
  `insert into users select case i when 0 then '${USER}' else uuid_v7() end, 'user-' || i || '@example.com', 'x', 1,
     now(), now() from generate_series(0, 19999) i`,
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
   select uuid_v7(), 'https://example.com/', case when i % 30000 = 1
     then array['user.created', 'user.updated', 'user.deleted', 'order.sent'] else array['order.paid', 'order.' || i % 500]
     end, 's', now(), now() from generate_series(1, 90000) i`,
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at, status)
   select uuid_v7(), 'https://example.com/', '{"*"}', 's', now(), now(), 'disabled' from generate_series(1, 5) i`,
  `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
   select uuid_v7(), 'https://example.com/', '{order.paid}', 's', now(), now() from generate_series(1, 9995) i`,
  `insert into messages select uuid_v7(), 'order.paid', '{}', now() from generate_series(1, 200000)`,
  `insert into notifications (id, message_id, channel, user_id, created_at)
   select uuid_v7(), m.id, case when m.n % 2000 = 0 then 'email' else 'webhook' end, u.id, now()
   from (select id, row_number() over () as n from messages) m
   join (select id, row_number() over () as n from users) u on u.n = m.n % 20000 + 1`,
  `insert into outcomes select id, case when n % 500 = 0 then 'dead' when n % 500 = 1 then 'canceled' else 'sent' end,
     1, null, now(), 1, 200, 'd' from (select id, row_number() over () as n from notifications) t where n % 100 <> 7`,
  `insert into deliveries (notification_id, due_at) select id, now() from notifications n
   where not exists (select from outcomes where notification_id = n.id)`,
  `insert into attempts select id, now(), 1, 500, 'HTTP 500', 'd' from notifications`,
];

type Plan = Record<string, unknown> & { Plans?: Plan[] };

const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

describe('plans', () => {
  let database: Awaited<ReturnType<typeof openTestPostgres>>;
  let client: Awaited<ReturnType<typeof connectTo>>;
  before(async () => {
    database = await openTestPostgres();
    client = await connectTo(database.name);
    for (const each of [...DATA, 'analyze']) await client.text(each);
  });
  after(async () => {
    await client.close();
    await database.close();
  });

  /** The plans of the one statement that `use` runs: made for its values, and made for any. */
  async function plansOf(
    use: (db: Db) => Promise<unknown>,
    what = 'format json',
  ): Promise<[mode: string, nodes: Plan[]][]> {
    const run: { text: string; values: unknown[] }[] = [];
    const db: Db = {
      ...noDb,
      run: async (statement, values) => {
        run.push({ text: statement.text, values: statement.params(values) });
        return [];
      },
    };
    await use(db).catch(() => {});
    const [{ text, values }] = run as [(typeof run)[0]];
    const literal = (value: unknown) => (value === null ? 'null' : `'${String(value).replaceAll("'", "''")}'`);
    const plans: [string, Plan[]][] = [];
    await client.text(`prepare explained as ${text}`);
    for (const mode of ['force_custom_plan', 'force_generic_plan', 'auto']) {
      await client.text(`set plan_cache_mode = ${mode}`);
      const asked = `explain (${what}) execute explained (${values.map(literal).join(', ')})`;
      // By itself Postgres tries five plans of the one kind before it weighs the other.
      for (let i = mode === 'auto' ? 7 : 1; i > 0; i--) {
        const [row] = (await client.text(asked)) as [{ 'QUERY PLAN': [{ Plan: Plan }] }];
        plans.push([mode, nodesOf(row['QUERY PLAN'][0].Plan)]);
      }
    }
    await client.text('deallocate explained');
    return plans;
  }

  const scans = (nodes: Plan[], table: string) =>
    nodes.filter((node) => node['Relation Name'] === table).map((node) => node['Node Type']);
  const indexes = (nodes: Plan[]) => nodes.map((node) => node['Index Name']);

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
        { id: uuidv7(), userId: USER, email: null, type: 'order.sent', data: '{}', ...reservation },
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

  test('whether the keys open what is sealed is told by a thousand endpoints of 100,000', async () => {
    const ask = (db: Db) => stateOf(db, { keyIds: ['0a1b2c3d'], oldest: 1000 }, signal);
    for (const [mode, nodes] of await plansOf(ask, 'analyze, format json')) {
      const read = nodes.filter((node) => node['Relation Name'] === 'webhook_endpoints');
      const rows = read.map((node) => Number(node['Actual Rows']) * Number(node['Actual Loops']));
      assert.equal(
        rows.reduce((a, b) => a + b),
        1000,
        mode,
      );
    }
  });

  test('users are found by email, in whatever case, by its index', async () => {
    const page = { after: null, limit: 20, email: EMAIL.toUpperCase() };
    for (const [mode, nodes] of await plansOf((db) => listUsers(db, page, signal))) {
      assert.ok(indexes(nodes).includes('users_email_caseless'), `${mode}: ${indexes(nodes)}`);
    }
    for (const [mode, nodes] of await plansOf((db) => updateUser(db, { ...user, versions: null, now }, signal))) {
      assert.ok(indexes(nodes).includes('users_email_caseless'), `${mode}: ${indexes(nodes)}`);
    }
  });

  for (const status of [undefined, 'pending', 'sent', 'dead', 'canceled'] as const) {
    for (const channel of [undefined, 'email', 'webhook'] as const) {
      for (const userId of [undefined, USER]) {
        const filters: Filters = { status, channel, userId };
        const named = Object.entries(filters).flatMap(([name, value]) => (value ? `${name} ${value}` : []));
        test(`a list of notifications by ${named.join(', ') || 'nothing'} reads no table whole`, async () => {
          const page = { ...filters, after: null, limit: 20 };
          for (const [mode, nodes] of await plansOf((db) => listNotifications(db, page, signal))) {
            for (const table of ['notifications', 'outcomes', 'messages', 'attempts']) {
              assert.ok(!scans(nodes, table).includes('Seq Scan'), `${mode}: ${table} is read whole`);
            }
            const [wanted] = [userId && 'notifications_user', channel === 'email' && 'notifications_channel'].filter(
              Boolean,
            );
            if (wanted) assert.ok(indexes(nodes).includes(wanted), `${mode}: ${indexes(nodes)}`);
          }
        });
      }
    }
  }
});
