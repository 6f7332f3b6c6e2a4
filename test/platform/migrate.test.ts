import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PGlite } from '@electric-sql/pglite';
import { applyMigrations, MIGRATIONS, migratePostgres } from '../../src/platform/migrate.ts';
import { pendingMigrations } from '../../src/platform/pending-migrations.ts';
import { stateOf } from '../../src/system/store.ts';
import { connectTo, openTestPostgres, ownDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';

/** The migrations of a clone that merged one which is older than the latest, which databases already have. */
function merged(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-migrations-'));
  t.after(() => rmSync(directory, { recursive: true }));
  cpSync(MIGRATIONS, directory, { recursive: true });
  const journalFile = join(directory, 'meta/_journal.json');
  const journal = JSON.parse(readFileSync(journalFile, 'utf8'));
  journal.entries.push({ ...journal.entries.at(-1), when: journal.entries.at(-1).when - 1, tag: '9999_merged' });
  writeFileSync(journalFile, JSON.stringify(journal));
  writeFileSync(join(directory, '9999_merged.sql'), 'create table merged ();');
  return directory;
}

test('a migration that a merge brought is applied, once, though a database has later ones', async (t) => {
  const { name, url } = await ownDatabase(t);
  const directory = merged(t);
  assert.deepEqual(await pendingMigrations(url, directory), [{ file: '9999_merged.sql', destroys: [] }]);
  await migratePostgres(url, directory);
  assert.deepEqual(await query(name, 'select * from merged'), []);
  assert.deepEqual(await pendingMigrations(url, directory), []);
  await migratePostgres(url, directory);
});

test('a migration gives up after five seconds on a table that somebody holds, and changes nothing', async (t) => {
  const { name, url } = await ownDatabase(t);
  const directory = merged(t);
  writeFileSync(join(directory, '9999_merged.sql'), 'create table merged (); alter table deliveries add column x int;');
  const holder = await connectTo(name);
  t.after(() => holder.close());
  await holder.text('begin');
  await holder.text('select from deliveries');
  await assert.rejects(migratePostgres(url, directory), ({ code }: { code?: string }) => code === '55P03');
  await holder.text('commit');
  await migratePostgres(url, directory);
  assert.deepEqual(await pendingMigrations(url, directory), []);
});

test('so it is on the embedded database', async (t) => {
  const client = await PGlite.create('memory://');
  t.after(() => client.close());
  const migrate = (directory?: string) => client.transaction((tx) => applyMigrations(tx.query.bind(tx), directory));
  await migrate();
  await migrate(merged(t));
  assert.deepEqual((await client.query('select * from merged')).rows, []);
});

test('a database that lacks a migration is not current, whatever later ones it has', async (t) => {
  const { name, db, close } = await openTestPostgres();
  t.after(() => close());
  const current = async () => (await stateOf(db, { keyIds: [] }, AbortSignal.timeout(5000))).schemaIsCurrent;
  await query(name, `insert into drizzle.__drizzle_migrations (hash, created_at) values ('a later version', 2e12)`);
  assert.equal(await current(), true);
  await query(
    name,
    'delete from drizzle.__drizzle_migrations where created_at = (select min(created_at) from drizzle.__drizzle_migrations)',
  );
  assert.equal(await current(), false);
});
