import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { onEveryDatabase, openTestPostgres } from '../support/databases.ts';
import { enqueue, execute, rowsOf } from '../support/notifications.ts';

onEveryDatabase('notifications', (db) => {
  test('what a POST answers is what GET shows, to the millisecond, every time', async () => {
    const call = apiOn(db);
    const hook = { url: 'https://example.com/', events: ['nothing.ever'] };
    const { id } = (await call('POST', '/webhook-endpoints', { body: hook })).json;
    for (let i = 0; i < 100; i++) {
      const body = newNotice();
      const [path, options] = i % 2 ? ['/notifications', { body }] : [`/webhook-endpoints/${id}/test`, {}];
      const { status, headers, json } = await call('POST', path, { ...options, ...(i % 4 < 2 && { key: `key-${i}` }) });
      assert.equal(status, 202);
      assert.equal(headers.get('location'), `/api/v1/notifications/${json.id}`);
      const { attemptLog, payload, ...shown } = (await call('GET', `/notifications/${json.id}`)).json;
      assert.deepEqual([shown, attemptLog], [json, []]);
      assert.equal(json.createdAt, json.dueAt);
      const [told] = await rowsOf<{ body: string }>(
        db,
        `select body from messages join notifications n on n.message_id = messages.id where n.id = '${json.id}'`,
      );
      assert.equal(told?.body, payload);
      assert.equal(JSON.parse(payload).timestamp, json.createdAt);
      const { data } = (await call('GET', '/notifications?limit=1')).json;
      assert.deepEqual(data, [shown]);
    }
  });

  test('a queued notification knows the bytes of its body, and again when it is redriven', async () => {
    const call = apiOn(db);
    const hook = { url: 'https://example.com/', events: ['order.paid'] };
    assert.equal((await call('POST', '/webhook-endpoints', { body: hook })).status, 201);
    const body = { ...newNotice(), type: 'order.paid', data: { text: 'Zoë 🦊'.repeat(100) } };
    const { id } = (await call('POST', '/notifications', { body })).json;
    const sizes = () =>
      rowsOf<{ bytes: number; is: number }>(
        db,
        `select d.bytes, octet_length(m.body) as is from deliveries d join notifications n on n.id = d.notification_id
         join messages m on m.id = n.message_id where m.type = 'order.paid'`,
      );
    const before = await sizes();
    assert.equal(before.length, 2);
    assert.ok(before.every(({ bytes, is }) => bytes === is && bytes > 100));
    await execute(
      db,
      `with gone as (delete from deliveries where notification_id = '${id}')
       insert into outcomes values ('${id}', 'dead', 10, 'HTTP 500', now(), 1, 500, 'd')`,
    );
    assert.equal((await call('POST', `/notifications/${id}/redrive`)).status, 200);
    assert.deepEqual(await sizes(), before);
  });
});

test('a page whose filters few match looks no further than it may, and the next one goes on there', async (t) => {
  const { db, close } = await openTestPostgres();
  t.after(close);
  const call = apiOn(db);
  const rare = await enqueue(db, 2);
  await execute(db, `update messages set type = 'rare.event'`);
  await enqueue(db, 10_005);
  const pages: [string[], boolean][] = [];
  for (let query: string | null = ''; query !== null; ) {
    const { headers, json } = await call('GET', `/notifications?type=rare.event&limit=1${query}`);
    pages.push([json.data.map(({ id }: { id: string }) => id), headers.has('link')]);
    query = json.nextCursor && `&cursor=${json.nextCursor}`;
  }
  const [first, second] = rare.toSorted();
  assert.deepEqual(pages, [
    [[], true],
    [[second], true],
    [[first], false],
  ]);
});
