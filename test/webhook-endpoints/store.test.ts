import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { apiOn } from '../support/api.ts';
import { connectTo, onEveryDatabase, openTestPostgres, untilBlocked } from '../support/databases.ts';
import { testDeps } from '../support/deps.ts';
import { enqueue, execute, rowsOf } from '../support/notifications.ts';
import { claim, settle } from '../support/queue.ts';

const { secrets } = testDeps();
const HOOKS = '/webhook-endpoints';
const body = { url: 'https://example.com/', events: ['nothing.ever'] };

onEveryDatabase('webhook endpoints', (db) => {
  const call = apiOn(db);
  beforeEach(() => execute(db, 'truncate messages, notifications, deliveries, webhook_endpoints, idempotency_keys'));

  const rotate = (id: string, key?: string) => call('POST', `${HOOKS}/${id}/rotate-secret`, key ? { key } : {});

  /** The secrets that the next delivery is signed with, in order. */
  async function signers(id: string): Promise<string[]> {
    await enqueue(db, 1, id);
    const { deliveries } = await claim(db, { limit: 1 });
    return Promise.all((deliveries[0]?.endpoint?.secrets ?? []).map((sealed) => secrets.open(sealed)));
  }

  /** Lets `hours` pass for the previous secret number `n`, the oldest being 0. */
  const age = (id: string, n: number, hours: number) =>
    execute(
      db,
      `update webhook_endpoints set previous_secrets = jsonb_set(previous_secrets, '{${n},until}',
         to_jsonb((previous_secrets -> ${n} ->> 'until')::timestamptz - interval '${hours} hours'))
       where id = '${id}'`,
    );

  test('every secret signs on for a day from its own rotation, however many follow; the newest comes first', async () => {
    const { id, secret } = (await call('POST', HOOKS, { body })).json;
    assert.deepEqual(await signers(id), [secret]);
    const all = [secret];
    for (let i = 0; i < 3; i++) all.unshift((await rotate(id)).json.secret);
    assert.deepEqual(await signers(id), all);
    await age(id, 0, 23);
    assert.deepEqual(await signers(id), all);
    await age(id, 0, 1);
    assert.deepEqual(await signers(id), all.slice(0, 3));
    all.unshift((await rotate(id)).json.secret);
    assert.deepEqual(await signers(id), all.slice(0, 4));
    const [row] = await rowsOf<{ kept: number }>(
      db,
      'select jsonb_array_length(previous_secrets) as kept from webhook_endpoints',
    );
    assert.equal(row?.kept, 3, 'what has expired is not kept');
  });

  test('rotations at the same moment lose no secret', async () => {
    const { id, secret } = (await call('POST', HOOKS, { body })).json;
    const rotated = await Promise.all(Array.from({ length: 5 }, () => rotate(id)));
    const all = [secret, ...rotated.map(({ json }) => json.secret)];
    assert.deepEqual((await signers(id)).sort(), all.sort());
    assert.deepEqual(rotated.map(({ json }) => json.version).sort(), [2, 3, 4, 5, 6]);
  });

  test('an eleventh secret beside the current one is a conflict, and changes nothing', async () => {
    const { id } = (await call('POST', HOOKS, { body })).json;
    for (let i = 1; i <= 10; i++) assert.equal((await rotate(id, `key-${i}`)).status, 200);
    const before = await signers(id);
    assert.equal(before.length, 11);
    for (const key of ['key-11', undefined]) {
      const refused = await rotate(id, key);
      assert.equal(refused.status, 409);
      assert.match(refused.json.type, /\/problems\/conflict$/);
    }
    assert.deepEqual(await signers(id), before);
    assert.equal((await rotate(id, 'key-10')).headers.get('idempotent-replayed'), 'true');
    await age(id, 0, 24);
    const again = await rotate(id, 'key-11');
    assert.equal(again.status, 200, 'a refusal leaves no claim on the key behind');
    assert.equal(again.headers.get('idempotent-replayed'), null);
  });

  test('a rotation and a test that are repeated after the endpoint was deleted are answered as at first', async () => {
    for (const verb of ['rotate-secret', 'test']) {
      const made = await call('POST', HOOKS, { body });
      const path = `${HOOKS}/${made.json.id}/${verb}`;
      const first = await call('POST', path, { key: 'once' });
      await call('DELETE', `${HOOKS}/${made.json.id}`);
      const again = await call('POST', path, { key: 'once' });
      assert.deepEqual([again.status, again.json], [first.status, first.json]);
      assert.equal(again.headers.get('idempotent-replayed'), 'true');
      assert.equal(again.headers.get('etag'), first.headers.get('etag'));
      for (const key of ['another', undefined]) {
        assert.equal((await call('POST', path, key ? { key } : {})).status, 404);
      }
      const keys = await rowsOf(db, `select key from idempotency_keys where route like '%${made.json.id}%'`);
      assert.deepEqual(keys, [{ key: 'once' }]);
    }
  });

  test('a change of a paused endpoint enables it, and touches nothing that is queued for it', async () => {
    const { id } = (await call('POST', HOOKS, { body })).json;
    await execute(
      db,
      `update webhook_endpoints set status = 'paused', failures = 12, failing_since = now(), last_failed_at = now(),
         paused_until = now() + interval '1 hour'`,
    );
    const asked = await call('POST', `${HOOKS}/${id}/test`);
    const rows = () => rowsOf(db, 'select ctid::text, xmin::text, due_at <= now() as due from deliveries');
    const before = await rows();
    assert.equal((before as { due: boolean }[])[0]?.due, true, 'a pause is no part of the queue');
    assert.equal((await call('PUT', `${HOOKS}/${id}`, { body })).json.status, 'enabled');
    assert.deepEqual(await rows(), before);
    assert.equal((await call('GET', `/notifications/${asked.json.id}`)).json.dueAt, asked.json.dueAt);
    const health = 'select failures, failing_since, last_failed_at, paused_until from webhook_endpoints';
    assert.deepEqual(await rowsOf(db, health), [
      { failures: 0, failing_since: null, last_failed_at: null, paused_until: null },
    ]);
  });

  test('a last attempt has one date, in the health of the endpoint and in the notification', async () => {
    const { id } = (await call('POST', HOOKS, { body })).json;
    const asked = (await call('POST', `${HOOKS}/${id}/test`)).json;
    const { deliveries } = await claim(db);
    const held = deliveries.filter((delivery) => delivery.id === asked.id);
    const failed = { outcome: 'dead', durationMs: 15_000, status: null, error: 'timed out' } as const;
    await settle(
      db,
      held.map((delivery) => ({ id: delivery.id, lease: delivery.lease, ...failed })),
      'd',
    );
    const { attemptLog } = (await call('GET', `/notifications/${asked.id}`)).json;
    const { lastFailures } = (await call('GET', `${HOOKS}/${id}/health`)).json;
    assert.equal(lastFailures.length, 1);
    assert.equal(lastFailures[0].at, attemptLog[0].at);
  });

  test('a disabled endpoint is not paused, which would queue for it again', async () => {
    const { id } = (await call('POST', HOOKS, { body })).json;
    await execute(db, `update webhook_endpoints set status = 'disabled' where id = '${id}'`);
    assert.equal((await call('POST', `${HOOKS}/${id}/pause`)).status, 409);
    assert.equal((await call('GET', `${HOOKS}/${id}`)).json.status, 'disabled');
  });
});

test('a repeat of the last rotation that is possible gets its answer, although both began at the same moment', async (t) => {
  const { db, name, close } = await openTestPostgres();
  t.after(close);
  const call = apiOn(db);
  const { id } = (await call('POST', HOOKS, { body })).json;
  const rotate = (key: string) => call('POST', `${HOOKS}/${id}/rotate-secret`, { key });
  for (let i = 0; i < 9; i++) await rotate(`before-${i}`);
  const other = await connectTo(name);
  await other.text(`begin; select from webhook_endpoints where id = '${id}' for update`);
  const both = Promise.all([rotate('the-same'), rotate('the-same')]);
  await untilBlocked(name, both, 2);
  await other.text('commit');
  await other.close();
  const [first, second] = await both;
  assert.deepEqual([first.status, second.status], [200, 200]);
  assert.equal(first.json.secret, second.json.secret);
  assert.equal((await rotate('another')).status, 409);
});
