// What the migrations do to existing users.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { before } from '../support/migrations.ts';
import { query } from '../support/postgres-server.ts';
import { TURKISH } from './turkish.ts';

test('emails: two users of one address are named by their ids, and nothing is changed until there is one', async (t) => {
  const { name, text, migrate, close } = await before('emails', TURKISH);
  t.after(close);
  const id = (n: number) => `00000000-0000-7000-8000-00000000000${n}`;
  const add = (n: number, email: string) =>
    text(`insert into users values ('${id(n)}', '${email}', 'x', 1, now(), now())`);
  await add(1, 'ILKER@x.io');
  await add(2, 'ilker@x.io');
  await add(3, 'other@x.io');
  const indexes = async () =>
    (await query(name, `select indexdef from pg_indexes where tablename = 'users' order by 1`)).map(({ indexdef }) =>
      String(indexdef).replace(/.* btree /, ''),
    );
  await assert.rejects(migrate(), (error: { code: string; message: string }) => {
    assert.equal(error.code, '23505');
    assert.ok(error.message.endsWith(`Their ids: ${id(1)} and ${id(2)}`), error.message);
    assert.doesNotMatch(error.message, /ilker/i);
    return true;
  });
  assert.deepEqual(await indexes(), ['(lower(email))', '(id)']);
  await text(`delete from users where id = '${id(2)}'`);
  await migrate();
  // The version that is still running finds users by the old index.
  assert.deepEqual(await indexes(), ['(lower((email COLLATE "C")))', '(lower(email))', '(id)']);
  await assert.rejects(add(4, 'ilker@x.io'), { code: '23505', constraint: 'users_email_caseless' });
});
