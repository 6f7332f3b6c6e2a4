// What the migrations do to data that is there already.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MIGRATIONS } from '../../src/platform/migrate.ts';
import { connectTo, createDatabase, TURKISH } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';

/** A database as the migrations before `name` left it, and that migration itself. */
async function before(name: string, as?: string) {
  const database = await createDatabase(as);
  await query(database.name, 'drop schema public cascade; create schema public');
  const { text, close } = await connectTo(database.name);
  const files = globSync('*.sql', { cwd: MIGRATIONS }).sort();
  const run = (file: string) => text(readFileSync(join(MIGRATIONS, file), 'utf8'));
  const at = files.findIndex((file) => file.endsWith(`_${name}.sql`));
  for (const file of files.slice(0, at)) await run(file);
  return {
    text,
    name: database.name,
    migrate: () => run(files[at] as string),
    close: async () => {
      await close();
      await database.drop();
    },
  };
}

test('rules: what signs goes on signing, a pause keeps its run of failures, what waits knows its size', async (t) => {
  const { text, migrate, close } = await before('rules');
  t.after(close);
  const endpoint = (n: number, columns: string, values: string) =>
    text(
      `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at, ${columns})
       values ('00000000-0000-7000-8000-00000000000${n}', 'u', '{*}', 's', now(), now(), ${values})`,
    );
  await endpoint(1, 'previous_secret, previous_secret_until', `'live', '2100-01-02T03:04:05.678Z'`);
  await endpoint(2, 'previous_secret, previous_secret_until', `'expired', now() - interval '1 second'`);
  await endpoint(3, 'status, failures, failing_since, paused_until', `'paused', 10, now(), '2100-01-01T00:00:30Z'`);
  await endpoint(4, 'status, failures, failing_since, paused_until', `'paused', 99, now(), '2100-01-01T01:00:00Z'`);
  await endpoint(5, 'failures, failing_since', '7, now()');
  await text(`
    insert into messages values ('00000000-0000-7000-8000-00000000000a', 'a.b', 'Zoë', now());
    insert into notifications (id, message_id, channel, created_at)
      values ('00000000-0000-7000-8000-00000000000b', '00000000-0000-7000-8000-00000000000a', 'email', now());
    insert into deliveries (notification_id, due_at) values ('00000000-0000-7000-8000-00000000000b', now())`);
  await migrate();
  const rows = await text('select previous_secrets, last_failed_at from webhook_endpoints order by id');
  const [first] = rows as [{ previous_secrets: [{ secret: string; until: string }] }];
  assert.equal(new Date(first.previous_secrets[0].until).toISOString(), '2100-01-02T03:04:05.678Z');
  const secrets = rows.map(({ previous_secrets: all }) => (all as { secret: string }[]).map(({ secret }) => secret));
  assert.deepEqual(secrets, [['live'], [], [], [], []]);
  const pausedAt = new Date('2100-01-01T00:00:00Z');
  const failed = rows.map(({ last_failed_at: at }) => at);
  assert.deepEqual(failed, [null, null, pausedAt, pausedAt, null]);
  assert.deepEqual(await text('select bytes from deliveries'), [{ bytes: 4 }]);
});

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
  // The old one is what the version that still runs finds users by.
  assert.deepEqual(await indexes(), ['(lower((email COLLATE "C")))', '(lower(email))', '(id)']);
  await assert.rejects(add(4, 'ilker@x.io'), { code: '23505', constraint: 'users_email_caseless' });
});
