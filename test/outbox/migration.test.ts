// What the migrations do to existing data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { before } from '../support/migrations.ts';

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

test('actions and stats: what waits goes on waiting, counted from now, and the version before still enqueues', async (t) => {
  const { text, migrate, close } = await before('actions_and_stats');
  t.after(close);
  const queue = (n: number) =>
    text(`insert into deliveries (notification_id, due_at, bytes)
          values ('00000000-0000-7000-8000-00000000000${n}', now() - interval '1 hour', 7)`);
  await queue(1);
  await migrate();
  await queue(2);
  const rows = await text(`select bytes, attempt, queued_at > now() - interval '1 minute' as recent from deliveries`);
  const row = { bytes: 7, attempt: 0, recent: true };
  assert.deepEqual(rows, [row, row]);
});
