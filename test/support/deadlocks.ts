// A database on which statements that lock rows overlap halfway through, and a detector of those that deadlock.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { type Db, DbError } from '../../src/db.ts';
import { openTestPostgres } from './databases.ts';
import { noDb } from './deps.ts';
import { query } from './postgres-server.ts';

/** How many act concurrently, and how often each. */
export const WORKERS = 8;
export const ROUNDS = 60;

// Makes each row write take milliseconds, not microseconds, so that statements overlap halfway through.
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

/** Sets up the database for a file's tests, slowed further by `own`, and a check that nothing has deadlocked. */
export function slowDatabase(own = '') {
  let database: Awaited<ReturnType<typeof openTestPostgres>>;
  const deadlocks: string[] = [];
  before(async () => {
    database = await openTestPostgres(WORKERS);
    // Postgres checks for a deadlock after waiting this long for a lock.
    await query('postgres', `alter database ${database.name} set deadlock_timeout = '20ms'`);
    await query(database.name, DAWDLE + own);
  });
  after(() => database.close());
  /** The database as the service uses it, with deadlocks recorded. */
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

/** Returns a source of random numbers that repeats for the same seed. */
export function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}
