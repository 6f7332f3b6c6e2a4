// Emails are unique regardless of case, and found that way, whatever the database's language.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { migratePostgres } from '../../src/platform/migrate.ts';
import type { OpenDb } from '../../src/platform/open-db.ts';
import { apiOn } from '../support/api.ts';
import { createDatabase, openTestPostgres } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { openTestPglite } from '../support/pglite-template.ts';
import { TURKISH } from './turkish.ts';

async function openTurkish(): Promise<OpenDb> {
  const database = await createDatabase(TURKISH);
  await migratePostgres(database.url);
  const open = openPostgres({ url: database.url, poolMax: 2, statementTimeoutMs: 5000, log: silent });
  const close = async () => {
    await open.close();
    await database.drop();
  };
  return { ...open, close };
}

const databases = {
  PGlite: openTestPglite,
  Postgres: () => openTestPostgres(),
  'Postgres in Turkish': openTurkish,
};

for (const [title, open] of Object.entries(databases)) {
  describe(`an email address on ${title}`, () => {
    let database: OpenDb;
    let api: ReturnType<typeof apiOn>;
    before(async () => {
      database = await open();
      api = apiOn(database.db);
    });
    after(() => database.close());

    const create = (email: string) => api('POST', '/users', { body: { email, name: 'Someone' } });

    test('belongs to one user, whatever the case of its letters', async () => {
      const [first, other] = [await create('ILKER@x.io'), await create('other@x.io')];
      assert.equal(first.status, 201);
      assert.equal((await create('ilker@x.io')).status, 409);
      assert.equal((await create('iLkEr@X.IO')).status, 409);
      const put = (id: string, email: string) => api('PUT', `/users/${id}`, { body: { email, name: 'Someone' } });
      assert.equal((await put(other.json.id, 'ilker@x.io')).status, 409);
      assert.equal((await put(first.json.id, 'ilker@X.IO')).status, 200);
    });

    test('finds its user, whatever the case of its letters', async () => {
      const { id, email } = (await create('QUIZ+I.i@ISTANBUL.example')).json;
      assert.equal(email, 'QUIZ+I.i@ISTANBUL.example');
      for (const written of [email, email.toLowerCase(), email.toUpperCase()]) {
        const { json } = await api('GET', `/users?email=${encodeURIComponent(written)}`);
        assert.deepEqual(
          json.data.map((user: { id: string }) => user.id),
          [id],
          written,
        );
      }
    });

    test('has letters, digits and signs of ASCII alone, so that nobody has to know other cases', async () => {
      for (const email of ['ılker@x.io', 'İlker@x.io', 'straße@x.io', 'a@\u212A.io', 'ａ@x.io', 'a@xn--.ıo']) {
        assert.equal((await create(email)).status, 422, email);
      }
    });
  });
}
