import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../../src/db.ts';
import {
  createEndpoint,
  findEndpoint,
  listEndpoints,
  removeEndpoint,
  updateEndpoint,
} from '../../src/webhook-endpoints/store.ts';
import { collectionOn } from '../support/collections.ts';
import { onEveryDatabase } from '../support/databases.ts';
import { rowsOf } from '../support/notifications.ts';

const signal = new AbortController().signal;

async function created(db: Db, url: string) {
  const now = new Date().toISOString();
  const endpoint = { id: uuidv7(), url, events: ['a.b'], description: '', createdAt: now, updatedAt: now, now };
  const reservation = {
    ...{ keySubject: 's', keyRoute: 'r', key: null, keyInput: '', keyResponse: 'null' },
    keyHolder: crypto.randomUUID(),
  };
  assert.equal((await createEndpoint(db, { ...endpoint, ...reservation, secret: 'sealed' }, signal)).fresh, true);
  return endpoint;
}

onEveryDatabase('the store of webhook endpoints', (db) => {
  test('an endpoint is created, found, listed, replaced and deleted, and sends no event', async () => {
    await collectionOn(db, '/webhook-endpoints').livesThrough([]);
  });

  test('a replacement raises the version, and is refused for another version or a missing endpoint', async () => {
    const change = {
      ...(await created(db, 'https://example.com/a')),
      url: 'https://example.com/b',
      versions: '{1}',
      sub: 'me',
    };
    const changed = await updateEndpoint(db, change, signal);
    assert.deepEqual([changed.version, changed.url], [2, change.url]);
    assert.deepEqual(await findEndpoint(db, change.id, signal), changed);
    const refused = (own: object, code: string) =>
      assert.rejects(updateEndpoint(db, { ...change, ...own }, signal), { code });
    await refused({}, 'precondition-failed');
    await refused({ versions: '{}' }, 'precondition-failed');
    await refused({ id: uuidv7() }, 'not-found');
    assert.equal((await updateEndpoint(db, { ...change, versions: '{7,2}' }, signal)).version, 3);
    assert.equal((await updateEndpoint(db, { ...change, versions: null }, signal)).version, 4);
  });

  test('a deletion is refused for another version, and a deleted endpoint is gone', async () => {
    const { id } = await created(db, 'https://example.com/c');
    await assert.rejects(removeEndpoint(db, { id, versions: '{2}', sub: 'me' }, signal), {
      code: 'precondition-failed',
    });
    await removeEndpoint(db, { id, versions: null, sub: 'me' }, signal);
    await assert.rejects(findEndpoint(db, id, signal), { code: 'not-found' });
    await assert.rejects(removeEndpoint(db, { id, versions: null, sub: 'me' }, signal), { code: 'not-found' });
  });

  test('endpoints are listed in order of creation, page by page', async () => {
    for (let i = 0; i < 5; i++) await created(db, `https://example.com/${i}`);
    const all: string[] = [];
    for (let after: string | null = null; ; ) {
      const rows = await listEndpoints(db, { after, limit: 2 }, signal);
      const page = rows.slice(0, 2).map(({ id }) => id);
      all.push(...page);
      if (rows.length <= 2) break;
      after = page[1] ?? null;
    }
    assert.deepEqual(all, [...all].sort());
    const [row] = await rowsOf<{ count: number }>(db, 'select count(*)::int as count from webhook_endpoints');
    assert.equal(all.length, row?.count);
  });
});
