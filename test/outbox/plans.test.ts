// How Postgres runs the statements that must not read a whole table, on tables large enough to use an index.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { type Filters, listNotifications } from '../../src/notifications/store.ts';
import { stateOf } from '../../src/system/store.ts';
import { newNotice } from '../conformance/target.ts';
import { apiOn } from '../support/api.ts';
import { indexes, scans, withPlans } from '../support/plans.ts';

const signal = new AbortController().signal;

describe('plans', () => {
  const plansOf = withPlans();

  test('a write that tells an address something finds its subscribers by the index of events', async () => {
    const tell = (db: Db) => apiOn(db)('POST', '/notifications', { body: newNotice(), key: 'k' });
    for (const [mode, nodes] of await plansOf(tell)) {
      assert.ok(indexes(nodes).includes('webhook_endpoints_events'), `${mode}: ${indexes(nodes)}`);
      assert.ok(!scans(nodes, 'webhook_endpoints').includes('Seq Scan'), `${mode}: all endpoints are read`);
    }
  });

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

  for (const status of [undefined, 'pending', 'sent', 'dead', 'canceled'] as const) {
    for (const channel of [undefined, 'email', 'webhook'] as const) {
      const filters = { status, channel } as Filters;
      const named = Object.entries(filters).flatMap(([name, value]) => (value ? `${name} ${value}` : []));
      test(`a list of notifications by ${named.join(', ') || 'nothing'} reads no table whole`, async () => {
        const page = { ...filters, after: null, limit: 20 };
        for (const [mode, nodes] of await plansOf((db) => listNotifications(db, page, signal))) {
          for (const table of ['notifications', 'outcomes', 'messages', 'attempts']) {
            assert.ok(!scans(nodes, table).includes('Seq Scan'), `${mode}: ${table} is read whole`);
          }
          const sorted = nodes.flatMap((node) => (node['Sort Key'] as string[] | undefined) ?? []);
          assert.deepEqual(
            sorted.filter((key) => /\bid\b/.test(key)),
            [],
            `${mode}: all that is found is sorted`,
          );
          const isRare = channel === 'email' && (status === undefined || status === 'sent');
          const found = !isRare || indexes(nodes).includes('notifications_channel');
          assert.ok(found, `${mode}: ${indexes(nodes)}`);
        }
      });
    }
  }

  const ENDPOINT = '01900000-0000-7000-8000-000000000000';
  const filters: Record<string, Filters> = {
    'an endpoint': { endpointId: ENDPOINT },
    'an endpoint, dead': { endpointId: ENDPOINT, status: 'dead' },
    'a type': { type: 'order.none' },
    'a text': { text: 'nowhere' },
    'a text, dead, by email': { text: 'nowhere', status: 'dead', channel: 'email' },
    'a time': {
      createdAfter: '2026-01-01T00:00:00.000Z',
      createdBefore: '2100-01-01T00:00:00.000Z',
      type: 'order.none',
    },
  };
  for (const [what, filter] of Object.entries(filters)) {
    test(`a page by ${what} that finds nothing looks at 10,000 notifications at most`, async () => {
      const page = { ...filter, after: null, limit: 20 };
      const plans = await plansOf((db) => listNotifications(db, page, signal), 'analyze, format json');
      for (const [mode, nodes] of plans) {
        const rows = (node: (typeof nodes)[0]) => Number(node['Actual Rows']) * Number(node['Actual Loops']);
        const read = nodes.filter((node) => node['Relation Name']).map((node) => [node['Relation Name'], rows(node)]);
        for (const [table, count] of read) assert.ok((count as number) <= 10_000, `${mode}: ${count} of ${table}`);
        if (filter.endpointId) assert.ok(indexes(nodes).includes('notifications_endpoint'), `${indexes(nodes)}`);
      }
    });
  }
});
