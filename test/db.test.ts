import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DbError } from '../src/db.ts';
import { onEveryDatabase } from './support/databases.ts';
import { execute } from './support/notifications.ts';

onEveryDatabase('a failed statement', (db) => {
  test('that violated a unique constraint tells which, and no value', async () => {
    const id = '00000000-0000-7000-8000-000000000001';
    const insert = () => execute(db, `insert into messages values ('${id}', 'a.b', '{"some":"one"}', now())`);
    await insert();
    await assert.rejects(insert(), (error: Error) => {
      assert.ok(error instanceof DbError);
      assert.deepEqual([error.sqlState, error.constraint], ['23505', 'messages_pkey']);
      assert.doesNotMatch(error.message, new RegExp(id));
      return true;
    });
    const unknown = execute(db, 'insert into nowhere values (1)');
    await assert.rejects(unknown, { constraint: undefined });
  });
});
