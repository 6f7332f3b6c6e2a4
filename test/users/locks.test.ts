// Users that take each other's addresses at the same time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apiOn } from '../support/api.ts';
import { chance, ROUNDS, slowDatabase } from '../support/deadlocks.ts';

// Slows every row that is written, and an index that comes before the one on email addresses.
const { watched, assertNone } = slowDatabase(`
  create trigger dawdle before insert or update or delete on users for each row execute function dawdle();
  create function slowly(text) returns text immutable language plpgsql as $$
  begin
    perform pg_sleep(random() * 0.004);
    return $1;
  end $$;
  create index slow_email on users (slowly(email));
  drop index users_email_caseless, users_email_unique;
  create unique index users_email_caseless on users (lower(email collate "C"));`);

test('users that change to each other’s addresses at the same moment do not deadlock', async () => {
  const call = apiOn(watched);
  const emails = ['a@example.com', 'b@example.com', 'c@example.com'];
  const make = async (email: string) => (await call('POST', '/users', { body: { email, name: 'x' } })).json.id;
  const ids: string[] = await Promise.all(emails.map(make));
  const seen = new Set<number>();
  const pick = chance(1);
  for (let round = 0; round < ROUNDS; round++) {
    const body = () => ({ email: [...emails, 'd@example.com'][pick(4)], name: 'x' });
    const answers = await Promise.all([
      ...ids.map((id) => call('PUT', `/users/${id}`, { body: body() })),
      call('POST', '/users', { body: body(), key: `k${pick(3)}` }),
    ]);
    for (const { status } of answers) seen.add(status);
    const made = answers.at(-1);
    if (made?.status === 201) await call('DELETE', `/users/${made.json.id}`);
  }
  assertNone();
  assert.deepEqual(
    [...seen].filter((status) => ![200, 201, 409, 422].includes(status)),
    [],
  );
  assert.ok(seen.has(200) && seen.has(409), 'some got what they wanted');
});
