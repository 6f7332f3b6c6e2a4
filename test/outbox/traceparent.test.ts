import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { app } from '../../src/app.ts';
import { bind, type Db, type SessionDb, statement } from '../../src/db.ts';
import { enqueue } from '../../src/outbox/enqueue.ts';
import { carrying, formatTraceparent, parseTraceparent } from '../../src/trace-context.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { inTime, testDeps } from '../support/deps.ts';
import { execute, newEndpoint, rowsOf } from '../support/notifications.ts';
import { claim } from '../support/queue.ts';
import { headers } from '../support/tokens.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`;

test('a traceparent is read as W3C Trace Context has it, and one that is invalid is none', () => {
  assert.deepEqual(parseTraceparent(PARENT), { traceId: TRACE, spanId: '00f067aa0ba902b7', sampled: true });
  for (const [flags, sampled] of Object.entries({ '00': false, '01': true, '02': false, '03': true, ff: true })) {
    assert.equal(parseTraceparent(PARENT.replace(/01$/, flags))?.sampled, sampled, flags);
  }
  assert.equal(formatTraceparent(parseTraceparent(`cc${PARENT.slice(2)}-later`) ?? assert.fail()), PARENT);
  const none = ['', 'x', PARENT.slice(0, -1), PARENT.toUpperCase(), `ff${PARENT.slice(2)}`, ` ${PARENT}`];
  none.push(PARENT.replace(TRACE, '0'.repeat(32)), PARENT.replace('00f067aa0ba902b7', '0'.repeat(16)));
  none.push(`${PARENT}-later`, `${PARENT}0`, `cc${PARENT.slice(2)}0`);
  for (const text of [...none, null, undefined]) assert.equal(parseTraceparent(text), undefined, `${text}`);
});

/** A custom change that enqueues. */
const change = statement<{ type: string }, never>('test.change', ($) => {
  const event = { from: sql`change`, type: sql`${$.type}::text`, data: sql`'{}'::json` };
  return sql`with change as (select), ${enqueue(event)} select from change`;
});

const stored = (db: Db) =>
  rowsOf<{ type: string; traceparent: string | null }>(db, 'select type, traceparent from messages order by type');

onEveryDatabase('the traceparent of what caused a message', (db) => {
  beforeEach(() => execute(db, 'truncate messages, notifications, deliveries, webhook_endpoints'));

  test('comes with the client, where traces are not recorded, and goes to the channel', async () => {
    const notify = async (type: string, own: Record<string, string>) => {
      const init = { method: 'POST', headers: { ...headers(), ...own } };
      const body = JSON.stringify({ email: 'ada@example.com', type, data: {} });
      const response = await app.request('/api/v1/notifications', { ...init, body }, testDeps({ db }));
      assert.equal(response.status, 202);
    };
    await notify('a.traced', { traceparent: `01${PARENT.slice(2)}-whatever`, tracestate: 'a=b' });
    await notify('b.alone', {});
    await notify('c.invalid', { traceparent: 'nonsense' });
    const { deliveries } = await claim(db);
    const found = deliveries.map(({ type, traceparent }) => [type, traceparent]).sort();
    assert.deepEqual(found, [
      ['a.traced', PARENT],
      ['b.alone', null],
      ['c.invalid', null],
    ]);
  });

  test('is stored by every statement that enqueues: alone, in a batch and in a transaction', async () => {
    await newEndpoint(db);
    await execute(db, "update webhook_endpoints set events = array['*']");
    const seen: (readonly string[])[] = [];
    const traced = carrying(db, PARENT, (names, roundTrip) => {
      seen.push(names);
      return roundTrip();
    });
    await db.run(change, { type: 'a' }, inTime());
    await traced.run(change, { type: 'b' }, inTime());
    await traced.batch([bind(change, { type: 'c' }), bind(change, { type: 'd' })], inTime());
    const expected = [
      { type: 'a', traceparent: null },
      { type: 'b', traceparent: PARENT },
      { type: 'c', traceparent: PARENT },
      { type: 'd', traceparent: PARENT },
    ];
    const names: string[][] = [['test.change'], ['test.change', 'test.change']];
    if ('transaction' in traced) {
      await (traced as SessionDb).transaction((tx) => tx.run(change, { type: 'e' }, inTime()), inTime());
      expected.push({ type: 'e', traceparent: PARENT });
      names.push(['test.change']);
    }
    assert.deepEqual(await stored(db), expected);
    assert.deepEqual(seen, names);
  });
});
