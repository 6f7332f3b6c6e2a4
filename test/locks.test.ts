// Every statement that locks rows, against all the others, on one small set of rows: none may deadlock.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Db, DbError } from '../src/db.ts';
import { extendLeases } from '../src/dispatcher/claims.ts';
import { pruneNotifications } from '../src/dispatcher/housekeeping.ts';
import type { Settlement } from '../src/dispatcher/settlements.ts';
import { pruneIdempotencyKeys } from '../src/idempotency/reserve-key.ts';
import { apiOn } from './support/api.ts';
import { openTestPostgres } from './support/databases.ts';
import { inTime } from './support/deps.ts';
import { execute, rowsOf } from './support/notifications.ts';
import { query } from './support/postgres-server.ts';
import { claim, settle as settleHeld } from './support/queue.ts';

const WORKERS = 8;
const ROUNDS = 60;

// What takes microseconds takes milliseconds here, so that statements meet half-way: every row that is written, and an
// index that comes before the one of email addresses.
const DAWDLE = `
  create function dawdle() returns trigger language plpgsql as $$
  begin
    perform pg_sleep(random() * 0.004);
    return coalesce(new, old);
  end $$;
  create function slowly(text) returns text immutable language plpgsql as $$
  begin
    perform pg_sleep(random() * 0.004);
    return $1;
  end $$;
  ${['users', 'webhook_endpoints', 'deliveries', 'outcomes', 'idempotency_keys']
    .map(
      (table) =>
        `create trigger dawdle before insert or update or delete on ${table} for each row execute function dawdle();`,
    )
    .join('')}
  create index slow_email on users (slowly(email));
  drop index users_email_caseless, users_email_unique;
  create unique index users_email_caseless on users (lower(email collate "C"));`;

let database: Awaited<ReturnType<typeof openTestPostgres>>;
let deadlocks: string[];
let watched: Db;
before(async () => {
  database = await openTestPostgres(WORKERS);
  // Postgres looks for a deadlock once a lock was waited for so long.
  await query('postgres', `alter database ${database.name} set deadlock_timeout = '20ms'`);
  await query(database.name, DAWDLE);
  deadlocks = [];
  watched = {
    ...database.db,
    run: (statement, values, signal) =>
      database.db.run(statement, values, signal).catch((error) => {
        if (error instanceof DbError && error.sqlState === '40P01') deadlocks.push(statement.name);
        throw error;
      }),
  };
});
after(() => database.close());

/** A source of chance that gives the same again. */
function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}

/** `work` in as many workers at once, each so many rounds. What is refused for a reason of its own is no matter. */
async function stress(work: (pick: (below: number) => number) => Promise<unknown>): Promise<void> {
  const worker = async (_: unknown, n: number) => {
    const pick = chance(n + 1);
    for (let round = 0; round < ROUNDS; round++) {
      await work(pick).catch((error) => {
        if (!(error instanceof DbError && error.sqlState === '40P01')) throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  assert.deepEqual(deadlocks.splice(0), []);
}

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
  assert.deepEqual(deadlocks.splice(0), []);
  assert.deepEqual(
    [...seen].filter((status) => ![200, 201, 409, 422].includes(status)),
    [],
  );
  assert.ok(seen.has(200) && seen.has(409), 'some got what they wanted');
});

test('changes of endpoints, deliveries, redrives, cancellations and prunings do not deadlock', async () => {
  const { db } = database;
  const call = apiOn(watched);
  const body = { url: 'https://example.com/', events: ['*'] };
  const hooks: string[] = [];
  for (let i = 0; i < 3; i++) hooks.push((await call('POST', '/webhook-endpoints', { body })).json.id);
  const notifications = () => rowsOf<{ id: string }>(db, 'select id from notifications order by random() limit 1');
  let settled = 0;
  const settle = async (pick: (below: number) => number) => {
    const { deliveries } = await claim(watched, { limit: 20 });
    const outcomes: Settlement['outcome'][] = ['sent', 'retry', 'dead', 'dead', 'release'];
    const results = deliveries.map(({ id, lease }) => {
      const outcome = outcomes[pick(outcomes.length)] as Settlement['outcome'];
      return { id, lease, outcome, delayMs: pick(20), durationMs: 1, status: outcome === 'sent' ? 200 : 500 };
    });
    results.sort(() => pick(3) - 1);
    const held = deliveries.slice(pick(5));
    // As a dispatcher does: never both at a time.
    await extendLeases(watched, held, 60_000, inTime());
    settled += (await settleHeld(watched, results, 'd')).settled;
  };
  const pause = (id: string | undefined) =>
    execute(
      db,
      `update webhook_endpoints set status = 'paused', failures = 12, paused_until = now() + interval '5 ms' where id = '${id}'`,
    );
  let pruned = 0;
  await stress(async (pick) => {
    const hook = hooks[pick(hooks.length)];
    const [some] = await notifications();
    const path = `/webhook-endpoints/${hook}`;
    const key = { key: `k${pick(3)}` };
    const does = [
      () => call('PUT', path, { body }),
      () => call('PUT', path, { body }),
      () => pause(hook),
      () => call('POST', `${path}/test`, key),
      () => call('POST', `${path}/test`),
      () => call('POST', `${path}/rotate-secret`, key),
      () => call('POST', '/users', { body: { email: `${pick(2 ** 30)}@example.com`, name: 'x' } }),
      () => settle(pick),
      () => settle(pick),
      () => settle(pick),
      () => call('POST', `/notifications/${some?.id}/redrive`),
      () => call('POST', `/notifications/${some?.id}/redrive`),
      () => call('POST', `/notifications/${some?.id}/cancel`),
      async () => {
        pruned += await pruneNotifications(watched, -1);
      },
      () => pruneIdempotencyKeys(watched, 10, inTime()),
      async () => {
        await call('DELETE', path);
        hooks[hooks.indexOf(hook as string)] = (await call('POST', '/webhook-endpoints', { body })).json.id;
      },
    ];
    await does[pick(does.length)]?.();
  });
  assert.ok(settled > 0 && pruned > 0, `${settled} settled, ${pruned} pruned`);
  const [lost] = await rowsOf<{ count: number }>(
    db,
    `select count(*)::int as count from notifications n
     where (exists (select from deliveries d where d.notification_id = n.id))
         = (exists (select from outcomes o where o.notification_id = n.id))`,
  );
  assert.equal(lost?.count, 0, 'each is queued, or has ended');
});
