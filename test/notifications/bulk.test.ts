// Redrive and cancel for all that match, and the record of these actions, on every driver.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { advanceJob } from '../../src/dispatcher/jobs.ts';
import { countMatching } from '../../src/notifications/store.ts';
import { newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { connectTo, onEveryDatabase, openTestPostgres } from '../support/databases.ts';
import { inTime } from '../support/deps.ts';
import { enqueue, execute, newEndpoint, rowsOf } from '../support/notifications.ts';
import { claim } from '../support/queue.ts';

/** Makes everything that is queued dead, after one attempt. */
const die = (db: Db, at = 'now()') =>
  execute(
    db,
    `with gone as (delete from deliveries returning notification_id)
     insert into outcomes select notification_id, 'dead', 1, 'HTTP 500', ${at}, 5, 500, 'd' from gone`,
  );

const ofStatus = async (db: Db) => {
  const rows = await rowsOf<{ status: string; count: number }>(
    db,
    `select coalesce(o.status, 'pending') as status, count(*)::int as count from notifications n
     left join outcomes o on o.notification_id = n.id group by 1`,
  );
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
};

/** Advances actions until none runs, and returns what each batch changed. */
async function advanceAll(db: Db): Promise<number[]> {
  const done: number[] = [];
  for (;;) {
    const advanced = await advanceJob(db, inTime());
    if (!advanced) return done;
    done.push(advanced.done);
  }
}

const CLEAR = 'truncate messages, notifications, deliveries, attempts, outcomes, actions, webhook_endpoints';

onEveryDatabase('all that match', (db) => {
  const call = apiOn(db);
  beforeEach(() => execute(db, CLEAR));

  test('are redriven once each, in batches, and counted exactly', async () => {
    await enqueue(db, 2500);
    await die(db);
    const { status, headers, json } = await call('POST', '/notifications/redrive', { body: { filter: {} } });
    assert.equal(status, 202, JSON.stringify(json));
    assert.equal(headers.get('location'), `/api/v1/actions/${json.id}`);
    const { createdAt, id, ...rest } = json;
    const started = { action: 'notifications.redrive', sub: 'tester', targetId: null, filter: {}, status: 'running' };
    assert.deepEqual(rest, { ...started, matching: 2500, done: 0, finishedAt: null });
    assert.deepEqual((await call('GET', `/actions/${id}`)).json, json);
    assert.deepEqual(await advanceAll(db), [1000, 1000, 500]);
    const { json: ended } = await call('GET', `/actions/${id}`);
    assert.deepEqual({ ...ended, finishedAt: null }, { ...json, status: 'finished', done: 2500 });
    assert.ok(ended.finishedAt >= createdAt);
    assert.deepEqual(await ofStatus(db), { pending: 2500 });
    const [kept] = await rowsOf(db, `select count(*)::int as count, min(error) as error from attempts`);
    assert.deepEqual(kept, { count: 2500, error: 'HTTP 500' });
    const [queued] = await rowsOf(db, `select max(attempt) as attempt, min(bytes) as bytes from deliveries`);
    assert.deepEqual(queued, { attempt: 0, bytes: 70 });
  });

  test('know their message, however they were queued', async () => {
    await execute(
      db,
      `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
      values (uuid_v7(), 'https://example.com/', '{*}', 's', now(), now())`,
    );
    const strangers = async () => {
      const [row] = await rowsOf<{ count: number; strangers: number }>(
        db,
        `select count(*)::int as count, count(*) filter (where d.message_id is distinct from n.message_id)::int as strangers
         from deliveries d join notifications n on n.id = d.notification_id`,
      );
      return row;
    };
    const { json } = await call('POST', '/notifications', { body: newNotice(), key: crypto.randomUUID() });
    assert.deepEqual(await strangers(), { count: 2, strangers: 0 }, 'enqueued');
    await die(db);
    assert.equal((await call('POST', `/notifications/${json.id}/redrive`)).status, 200);
    assert.deepEqual(await strangers(), { count: 1, strangers: 0 }, 'redriven alone');
    await call('POST', '/notifications/redrive', { body: { filter: {} } });
    await advanceAll(db);
    assert.deepEqual(await strangers(), { count: 2, strangers: 0 }, 'redriven with the others');
  });

  test('are canceled, but for those that are being delivered', async () => {
    await enqueue(db, 30);
    const { deliveries } = await claim(db, { room: 10 });
    assert.equal(deliveries.length, 10);
    const { json } = await call('POST', '/notifications/cancel', { body: { filter: {} } });
    assert.equal(json.matching, 20);
    assert.deepEqual(await advanceAll(db), [20]);
    assert.deepEqual(await ofStatus(db), { pending: 10, canceled: 20 });
  });

  test('are those of the filter alone, and the count before says how many', async () => {
    const [first, second] = [await newEndpoint(db), await newEndpoint(db)];
    await enqueue(db, 3, first);
    await enqueue(db, 4, second, JSON.stringify({ type: 'test.event', data: { text: '100% of_it\\n "Zoë" 🦊' } }));
    await enqueue(db, 5);
    await execute(
      db,
      `update messages set type = 'other.event' where id in (select message_id from notifications where endpoint_id is null)`,
    );
    // Ids contain their time.
    const old = `overlay(notification_id::text placing '019b76da-a800' from 1)::uuid`;
    await execute(
      db,
      `with moved as (
         update deliveries set notification_id = ${old} where endpoint_id = '${first}' returning 1
       )
       update notifications set id = ${old.replace('notification_id', 'id')}, created_at = '2026-01-01T00:00:00Z'
       where endpoint_id = '${first}' and exists (select from moved)`,
    );
    await die(db);
    const cases: [object, number][] = [
      [{}, 12],
      [{ status: 'dead' }, 12],
      [{ endpointId: first }, 3],
      [{ endpointId: first.toUpperCase() }, 3],
      [{ type: 'other.event' }, 5],
      [{ channel: 'webhook' }, 7],
      [{ createdBefore: '2026-01-01T00:00:00.001Z' }, 3],
      [{ createdBefore: '2026-01-01T00:00:00Z' }, 0],
      [{ createdAfter: '2026-01-01T01:00:00+01:00' }, 12],
      [{ createdAfter: '2026-01-01T00:00:00.001Z' }, 9],
      [{ text: '100% of_it' }, 4],
      [{ text: '%' }, 4],
      [{ text: '_' }, 4],
      [{ text: 'Zoë' }, 4],
      [{ text: '🦊' }, 4],
      [{ text: '\\' }, 4],
      [{ text: 'test.event', channel: 'webhook', type: 'test.event' }, 7],
      [{ text: 'nowhere' }, 0],
      [{ endpointId: first, type: 'other.event' }, 0],
    ];
    for (const [filter, matching] of cases) {
      const what = JSON.stringify(filter);
      const { status, json } = await call('POST', '/notifications/redrive', { body: { filter } });
      assert.equal(status, 202, JSON.stringify(json));
      assert.equal(json.matching, matching, what);
      assert.equal(json.status, matching > 0 ? 'running' : 'finished', what);
      assert.equal(await countMatching(db, 'redrive', filter, inTime()), matching, what);
      const query = new URLSearchParams({ status: 'dead', ...filter } as Record<string, string>);
      assert.equal((await call('GET', `/notifications?${query}`)).json.data.length, matching, what);
      await advanceAll(db);
      assert.equal((await call('GET', `/actions/${json.id}`)).json.done, matching, what);
      assert.equal((await ofStatus(db)).pending ?? 0, matching, what);
      await die(db);
    }
  });

  test('are those that matched when it was asked for: not what came or died since', async () => {
    await enqueue(db, 3);
    await die(db, "now() + interval '1 hour'");
    await enqueue(db, 2);
    await die(db);
    const { json } = await call('POST', '/notifications/redrive', { body: { filter: {} } });
    await advanceAll(db);
    assert.equal((await call('GET', `/actions/${json.id}`)).json.done, 2);
    await execute(db, CLEAR);
    await enqueue(db, 2);
    const canceled = (await call('POST', '/notifications/cancel', { body: { filter: {} } })).json;
    await execute(db, `select pg_sleep(0.01)`);
    await enqueue(db, 3);
    await advanceAll(db);
    assert.equal((await call('GET', `/actions/${canceled.id}`)).json.done, 2);
    assert.deepEqual(await ofStatus(db), { canceled: 2, pending: 3 });
  });

  test('are canceled, but for one that was redriven since', async () => {
    const [first = '', redriven = ''] = await enqueue(db, 2);
    await execute(
      db,
      `with gone as (delete from deliveries where notification_id = '${redriven}' returning notification_id)
       insert into outcomes select notification_id, 'dead', 1, 'HTTP 500', now(), 5, 500, 'd' from gone`,
    );
    const { json } = await call('POST', '/notifications/cancel', { body: { filter: {} } });
    assert.equal(json.matching, 1);
    // Lets the database's clock advance by more than the rounding of its milliseconds.
    await execute(db, 'select pg_sleep(0.002)');
    assert.equal((await call('POST', `/notifications/${redriven}/redrive`)).status, 200);
    assert.deepEqual(await advanceAll(db), [1]);
    assert.equal((await call('GET', `/notifications/${first}`)).json.status, 'canceled');
    assert.equal((await call('GET', `/notifications/${redriven}`)).json.status, 'pending');
  });

  test('and an action on them, are answered with 304 as long as they are as they were', async () => {
    const [id] = await enqueue(db, 1);
    const action = (await call('POST', '/notifications/cancel', { body: { filter: {} } })).json;
    for (const path of [`/notifications/${id}`, `/actions/${action.id}`]) {
      const etag = (await call('GET', path)).headers.get('etag') ?? '';
      const same = await call('GET', path, { headers: { 'If-None-Match': `"0", W/${etag}` } });
      assert.deepEqual([same.status, same.headers.get('etag'), same.json], [304, etag, null], path);
      if (path.startsWith('/notifications')) await advanceAll(db);
      else await execute(db, 'update actions set done = 7');
      const changed = await call('GET', path, { headers: { 'If-None-Match': etag } });
      assert.equal(changed.status, 200, path);
      assert.notEqual(changed.headers.get('etag'), etag);
    }
  });

  test('under one key are asked for once; another filter under it is refused', async () => {
    await enqueue(db, 2);
    await die(db);
    const ask = (filter: object) => call('POST', '/notifications/redrive', { body: { filter }, key: 'once' });
    const first = await ask({});
    await advanceAll(db);
    await die(db);
    const again = await ask({});
    assert.deepEqual(again.json, first.json);
    assert.equal(again.headers.get('idempotent-replayed'), 'true');
    assert.deepEqual(await advanceAll(db), []);
    assert.equal((await ask({ channel: 'email' })).status, 422);
  });

  test('an action that is stopped goes no further, keeps what it did, and cannot be stopped again', async () => {
    await enqueue(db, 1500);
    await die(db);
    const { id } = (await call('POST', '/notifications/redrive', { body: { filter: {} } })).json;
    await advanceJob(db, inTime());
    const { status, json } = await call('POST', `/actions/${id}/stop`);
    assert.deepEqual([status, json.status, json.done], [200, 'stopped', 1000]);
    assert.ok(json.finishedAt);
    assert.deepEqual(await advanceAll(db), []);
    assert.deepEqual(await ofStatus(db), { pending: 1000, dead: 500 });
    assert.equal((await call('POST', `/actions/${id}/stop`)).status, 409);
    assert.equal((await call('POST', '/actions/01900000-0000-7000-8000-000000000000/stop')).status, 404);
    const { data } = (await call('GET', '/actions')).json;
    assert.deepEqual(
      data.map(({ action, targetId }: { action: string; targetId: string }) => [action, targetId]),
      [
        ['action.stop', id],
        ['notifications.redrive', null],
      ],
    );
  });

  test('a filter of another status, unknown, or out of range is refused', async () => {
    const refused = [
      { status: 'sent' },
      { other: 1 },
      { text: '' },
      { text: 'x'.repeat(201) },
      { type: '%' },
      { createdAfter: 'yesterday' },
      { endpointId: 'x' },
    ];
    for (const filter of refused) {
      const { status, json } = await call('POST', '/notifications/redrive', { body: { filter } });
      assert.equal(status, 422, JSON.stringify(filter));
      assert.match(json.errors[0].pointer, /^#\/filter\//);
    }
    assert.equal((await call('POST', '/notifications/redrive', { body: {} })).status, 422);
    assert.equal((await call('POST', '/notifications/cancel', { body: { filter: { status: 'dead' } } })).status, 422);
  });

  test('who did what is written by the statement that acts, once, and only if it took effect', async () => {
    const hook = { url: 'https://example.com/', events: ['nothing.ever'] };
    const endpoint = (await call('POST', '/webhook-endpoints', { body: hook, key: 'a' })).json.id;
    await call('POST', '/webhook-endpoints', { body: hook, key: 'a' });
    const path = `/webhook-endpoints/${endpoint}`;
    for (let i = 0; i < 2; i++) await call('POST', `${path}/rotate-secret`, { key: 'b' });
    let test = '';
    for (let i = 0; i < 2; i++) test = (await call('POST', `${path}/test`, { key: 'c' })).json.id;
    await call('PUT', path, { body: hook });
    const refused = [
      await call('PUT', '/webhook-endpoints/01900000-0000-7000-8000-000000000000', { body: hook }),
      await call('POST', `/notifications/${test}/redrive`),
    ];
    assert.deepEqual(
      refused.map(({ status }) => status),
      [404, 409],
    );
    await die(db);
    for (let i = 0; i < 2; i++) await call('POST', `/notifications/${test}/redrive`);
    for (let i = 0; i < 2; i++) await call('POST', `/notifications/${test}/cancel`);
    for (let i = 0; i < 2; i++) await call('DELETE', path);
    const { data } = (await call('GET', '/actions?limit=100')).json;
    assert.deepEqual(
      data.reverse().map(({ action, sub, targetId }: Record<string, string>) => [action, sub, targetId]),
      [
        ['webhook_endpoint.create', 'tester', endpoint],
        ['webhook_endpoint.rotate_secret', 'tester', endpoint],
        ['webhook_endpoint.test', 'tester', endpoint],
        ['webhook_endpoint.replace', 'tester', endpoint],
        ['notification.redrive', 'tester', test],
        ['notification.cancel', 'tester', test],
        ['webhook_endpoint.delete', 'tester', endpoint],
      ],
    );
    const { id, createdAt, ...rest } = data[0];
    const whole = { filter: null, status: 'finished', matching: 1, done: 1, finishedAt: createdAt };
    assert.deepEqual(rest, { action: 'webhook_endpoint.create', sub: 'tester', targetId: endpoint, ...whole });
    const pages: string[] = [];
    for (let query = '?limit=3'; query; ) {
      const page = (await call('GET', `/actions${query}`)).json;
      pages.push(...page.data.map((each: { id: string }) => each.id));
      query = page.nextCursor ? `?limit=3&cursor=${page.nextCursor}` : '';
    }
    assert.equal(pages.length, 7);
    assert.equal(pages.at(-1), id);
  });

  test('a notification that nobody asked to change leaves no action', async () => {
    await call('POST', '/notifications', { body: newNotice() });
    assert.deepEqual((await call('GET', '/actions')).json.data, []);
  });
});

test('two at once over the same rows change each once, and each counts what it did', async (t) => {
  const { db, name, close } = await openTestPostgres();
  t.after(close);
  const call = apiOn(db);
  await enqueue(db, 3000);
  await die(db);
  const started = await Promise.all([1, 2].map(() => call('POST', '/notifications/redrive', { body: { filter: {} } })));
  assert.deepEqual(
    started.map(({ json }) => json.matching),
    [3000, 3000],
  );
  // A row that another session locks, as a claim does, holds nobody up, and is not forgotten.
  const other = await connectTo(name);
  t.after(other.close);
  await other.text('begin');
  await other.text('select 1 from outcomes order by notification_id limit 1 for update');
  const some = await Promise.all([1, 2, 3].map(() => advanceJob(db, inTime())));
  assert.ok(some.every((each) => each === undefined || !each.finished || each.done > 0));
  await other.text('rollback');
  await Promise.all([advanceAll(db), advanceAll(db), advanceAll(db)]);
  await advanceAll(db);
  const ended = await Promise.all(started.map(({ json }) => call('GET', `/actions/${json.id}`)));
  assert.deepEqual(
    ended.map(({ json }) => json.status),
    ['finished', 'finished'],
  );
  assert.equal(
    ended.reduce((sum, { json }) => sum + json.done, 0),
    3000,
  );
  assert.deepEqual(await ofStatus(db), { pending: 3000 });
  assert.equal((await rowsOf<{ n: number }>(db, 'select count(*)::int as n from attempts'))[0]?.n, 3000);
});
