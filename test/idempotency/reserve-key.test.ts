import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newEndpoint, newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { execute, rowsOf } from '../support/notifications.ts';

const HOOKS = '/webhook-endpoints';
const NOTIFICATIONS = '/notifications';

onEveryDatabase('a key that is reserved', (db) => {
  const call = apiOn(db);
  const counts = async () => {
    const tables = ['webhook_endpoints', 'messages', 'notifications', 'deliveries', 'idempotency_keys'];
    const each = tables.map((table) => `(select count(*) from ${table})::int as ${table}`);
    const [row] = await rowsOf<Record<string, number>>(db, `select ${each.join(', ')}`);
    return row as Record<string, number>;
  };

  test('is that of one effect with one answer, however many ask at once', async () => {
    const before = await counts();
    const [endpoint, notice] = [newEndpoint(), newNotice()];
    for (const [path, body] of [
      [HOOKS, endpoint],
      [NOTIFICATIONS, notice],
    ] as const) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => call('POST', path, { body, key: 'key-of-many' })),
      );
      for (const { json } of answers) assert.deepEqual(json, answers[0]?.json);
      const fresh = answers.filter(({ headers }) => !headers.has('idempotent-replayed'));
      assert.equal(fresh.length, 1);
    }
    const grown = Object.entries(await counts()).map(([table, count]) => [table, count - (before[table] as number)]);
    assert.deepEqual(Object.fromEntries(grown), {
      webhook_endpoints: 1,
      messages: 1,
      notifications: 1,
      deliveries: 1,
      idempotency_keys: 2,
    });
  });

  test('is taken over once it is older than a day', async () => {
    const [first, next] = [newEndpoint(), newEndpoint()];
    assert.equal((await call('POST', HOOKS, { body: first, key: 'old-key' })).status, 201);
    assert.equal((await call('POST', HOOKS, { body: next, key: 'old-key' })).status, 422);
    await execute(db, `update idempotency_keys set created_at = now() - interval '25 hours' where key = 'old-key'`);
    const taken = await call('POST', HOOKS, { body: next, key: 'old-key' });
    assert.deepEqual([taken.status, taken.json.url], [201, next.url]);
    assert.equal(taken.headers.get('idempotent-replayed'), null);
    const again = await call('POST', HOOKS, { body: next, key: 'old-key' });
    assert.deepEqual(again.json, taken.json);
  });

  test('is given back by a write that the database refuses, and nothing else is left', async () => {
    const [endpoint, notice] = [newEndpoint(), newNotice()];
    const writes = () => [
      call('POST', HOOKS, { body: endpoint, key: 'refused' }),
      call('POST', NOTIFICATIONS, { body: notice, key: 'refused' }),
    ];
    await execute(db, `alter table webhook_endpoints add constraint refused check (url <> '${endpoint.url}')`);
    await execute(db, `alter table deliveries add constraint refused check (endpoint_id is not null) not valid`);
    const before = await counts();
    for (const { status } of await Promise.all(writes())) assert.equal(status, 500);
    assert.deepEqual(await counts(), before);
    await execute(db, 'alter table webhook_endpoints drop constraint refused');
    await execute(db, 'alter table deliveries drop constraint refused');
    const answers = await Promise.all(writes());
    assert.deepEqual(
      answers.map(({ status, headers }) => [status, headers.get('idempotent-replayed')]),
      [
        [201, null],
        [202, null],
      ],
    );
  });
});
