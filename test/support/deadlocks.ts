// A database on which statements that lock rows meet half-way, and a watch for those that deadlock.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { type Db, DbError } from '../../src/db.ts';
import { openTestPostgres } from './databases.ts';
import { noDb } from './deps.ts';
import { query } from './postgres-server.ts';

/** Who acts at once, and how often each. */
export const WORKERS = 8;
export const ROUNDS = 60;

// What takes microseconds takes milliseconds here, so that statements meet half-way: every row that is written.
const DAWDLE = `
  create function dawdle() returns trigger language plpgsql as $$
  begin
    perform pg_sleep(random() * 0.004);
    return coalesce(new, old);
  end $$;
  ${['webhook_endpoints', 'deliveries', 'outcomes', 'idempotency_keys', 'actions', 'delivery_stats']
    .map(
      (table) =>
        `create trigger dawdle before insert or update or delete on ${table} for each row execute function dawdle();`,
    )
    .join('')}`;

/** For the tests of a file: the database, made slower still by `own`, and how to see that nothing has deadlocked. */
export function slowDatabase(own = '') {
  let database: Awaited<ReturnType<typeof openTestPostgres>>;
  const deadlocks: string[] = [];
  before(async () => {
    database = await openTestPostgres(WORKERS);
    // Postgres looks for a deadlock once a lock was waited for so long.
    await query('postgres', `alter database ${database.name} set deadlock_timeout = '20ms'`);
    await query(database.name, DAWDLE + own);
  });
  after(() => database.close());
  /** As the service has it, deadlocks being noted. */
  const watched: Db = {
    ...noDb,
    run: (statement, values, signal) =>
      database.db.run(statement, values, signal).catch((error) => {
        if (error instanceof DbError && error.sqlState === '40P01') deadlocks.push(statement.name);
        throw error;
      }),
  };
  return { db: () => database.db, watched, assertNone: () => assert.deepEqual(deadlocks.splice(0), []) };
}

/** A source of chance that gives the same again. */
export function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}
