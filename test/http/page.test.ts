import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import { app } from '../../src/app.ts';
import { type Db, DbError } from '../../src/db.ts';
import { readCursor, writeCursor } from '../../src/http/page.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const SCOPE = '/api/v1/webhook-endpoints{}';
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

describe('a cursor', () => {
  test('leads back to the id that it was made from, and fits in a URL as it is', () => {
    const edges = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'];
    for (const id of [...edges, ...Array.from({ length: 1000 }, () => uuidv7())]) {
      const cursor = writeCursor(id, SCOPE);
      assert.equal(encodeURIComponent(cursor), cursor);
      assert.equal(readCursor(cursor, SCOPE), id);
    }
  });

  test('with any one character changed, taken away or added is refused', () => {
    for (let n = 0; n < 5; n++) {
      const cursor = writeCursor(uuidv7(), SCOPE);
      for (let i = 0; i < cursor.length; i++) {
        for (const other of ALPHABET) {
          if (other === cursor[i]) continue;
          assert.equal(readCursor(cursor.slice(0, i) + other + cursor.slice(i + 1), SCOPE), undefined);
        }
        assert.equal(readCursor(cursor.slice(0, i) + cursor.slice(i + 1), SCOPE), undefined);
        assert.equal(readCursor(`${cursor.slice(0, i)}A${cursor.slice(i)}`, SCOPE), undefined);
      }
    }
  });

  test('of another list, or of other filters, is refused', () => {
    const cursor = writeCursor(uuidv7(), SCOPE);
    for (const scope of ['/api/v1/notifications{}', '/api/v1/webhook-endpoints{"channel":"email"}', '']) {
      assert.equal(readCursor(cursor, scope), undefined);
    }
  });
});

describe('a page', () => {
  const rows = Array.from({ length: 5 }, (_, i) => ({
    id: uuidv7(),
    url: `https://example.com/${i}`,
    events: ['nothing.ever'],
    description: '',
    status: 'enabled',
    version: 1,
    createdAt: new Date(i),
    updatedAt: new Date(i),
  }));
  /** Five endpoints, as the list statement would find them. */
  const db: Db = {
    ...noDb,
    run: async (_, values) => {
      const { after, limit } = values as { after: string; limit: number };
      if (after === undefined) throw new DbError('failed', 'another statement');
      return rows.filter(({ id }) => id > after).slice(0, limit) as never[];
    },
  };
  const get = async (query: string, own: Record<string, string> = {}) => {
    const init = { headers: { ...headers(), ...own } };
    const response = await app.request(`/api/v1/webhook-endpoints${query}`, init, testDeps({ db }));
    const body = (await response.json()) as { data: { id: string }[]; nextCursor: string | null };
    return { response, ...body };
  };

  test('says where the next one is, with the same limit, until there is none', async () => {
    const first = await get('?limit=2');
    assert.deepEqual(
      first.data.map(({ id }) => id),
      rows.slice(0, 2).map(({ id }) => id),
    );
    const link = /^<(.+)>; rel="next"$/.exec(first.response.headers.get('link') ?? '')?.[1] as string;
    assert.equal(new URL(link).search, `?limit=2&cursor=${first.nextCursor}`);
    const second = await get(new URL(link).search);
    assert.deepEqual([second.data.length, typeof second.nextCursor], [2, 'string']);
    const last = await get(`?limit=2&cursor=${second.nextCursor}`);
    assert.deepEqual([last.data.length, last.nextCursor, last.response.headers.get('link')], [1, null, null]);
  });

  test('is followed by HTTPS where a proxy ends TLS', async () => {
    const { response } = await get('?limit=2', { 'X-Forwarded-Proto': 'https' });
    assert.match(
      response.headers.get('link') ?? '',
      /^<https:\/\/localhost\/api\/v1\/webhook-endpoints\?limit=2&cursor=/,
    );
    const refused = (await get('?limit=x', { 'X-Forwarded-Proto': 'https' })) as unknown as { type: string };
    assert.equal(refused.type, 'https://localhost/problems/validation-failed');
    const chain = await get('?limit=2', { 'X-Forwarded-Proto': 'HTTPS, http' });
    assert.match(chain.response.headers.get('link') ?? '', /^<https:/);
    const odd = await get('?limit=2', { 'X-Forwarded-Proto': 'javascript' });
    assert.match(odd.response.headers.get('link') ?? '', /^<http:\/\/localhost\//);
  });

  test('that holds all there is names no next one', async () => {
    const { data, nextCursor } = await get('?limit=5');
    assert.deepEqual([data.length, nextCursor], [5, null]);
  });
});
