// The console's pages of users.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apiOn } from '../support/api.ts';
import { consoleOn } from '../support/console.ts';
import { openTestPostgres } from '../support/databases.ts';

test('the list of users breaks long names, and says what is wrong with an address without a search for it', async (t) => {
  const { db, close } = await openTestPostgres();
  t.after(close);
  const name = 'x'.repeat(200);
  const { status } = await apiOn(db)('POST', '/users', { body: { email: 'long@example.com', name } });
  assert.equal(status, 201);
  const { open, signIn } = consoleOn(db);
  const cookie = await signIn();
  assert.match((await open('/users', { cookie })).text, /<td class="long">x{200}<\/td>/);
  const wrong = await open('/users?email=nobody', { cookie });
  assert.equal(wrong.status, 422);
  assert.match(wrong.text, /class="problem">Enter a valid email address\.</);
  assert.doesNotMatch(wrong.text, /No user/);
  assert.match((await open('/users?email=no@example.com', { cookie })).text, /No user has this email address\./);
});
