import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MIGRATIONS } from '../../src/platform/migrate.ts';
import { destructiveStatements, pendingMigrations } from '../../src/platform/pending-migrations.ts';
import { createDatabase } from '../support/databases.ts';
import { databaseUrl } from '../support/postgres-server.ts';
import { scriptOn } from '../support/runtimes.ts';

function deploy(args: string[], env: Record<string, string> = {}) {
  const offline = spawnSync('unshare', ['-rn', 'true']).status === 0 ? ['unshare', '-rn'] : [];
  const [command, ...rest] = [...offline, ...scriptOn('node', 'src/entry/deploy.ts'), ...args];
  const { PATH = '', HOME = '' } = process.env;
  return spawnSync(command as string, rest, { encoding: 'utf8', env: { PATH, HOME, ...env } });
}

describe('deploy', () => {
  test('shows all of it without a network, in order, and changes nothing', () => {
    const { status, stdout, stderr } = deploy(['--dry-run']);
    assert.equal(status, 0, stdout + stderr);
    const steps = ['0001_tables.sql', 'env.DISPATCH_SUBREQUESTS', 'env.RATE_LIMITER', '/ready'];
    const places = steps.map((step) => stdout.indexOf(step));
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
    );
    assert.ok(
      places.every((place) => place >= 0),
      stdout,
    );
  });

  test('says what is missing, without what is secret', () => {
    assert.match(deploy([]).stderr, /DATABASE_URL must be set/);
    const { status, stdout, stderr } = deploy([], { DATABASE_URL: 'postgres://me:pa55word@127.0.0.1:1/app' });
    assert.equal(status, 1);
    assert.match(stderr, /cannot reach the database/);
    assert.doesNotMatch(stdout + stderr, /pa55word/);
    assert.match(deploy(['--nope']).stderr, /usage: npm run deploy/);
  });

  test('knows which migrations are pending, and what they destroy', async (t) => {
    const database = await createDatabase();
    const directory = mkdtempSync(join(tmpdir(), 'keelson-migrations-'));
    t.after(async () => {
      rmSync(directory, { recursive: true });
      await database.drop();
    });
    assert.deepEqual(await pendingMigrations(database.url), []);

    cpSync(MIGRATIONS, directory, { recursive: true });
    const journalFile = join(directory, 'meta/_journal.json');
    const journal = JSON.parse(readFileSync(journalFile, 'utf8'));
    journal.entries.push({ idx: journal.entries.length, when: Date.now() + 1e6, tag: '9999_drop' });
    writeFileSync(journalFile, JSON.stringify(journal));
    writeFileSync(join(directory, '9999_drop.sql'), 'create table a (b int);\nalter table messages drop column type;');
    const destroys = ['alter table messages drop column type'];
    assert.deepEqual(await pendingMigrations(database.url, directory), [{ file: '9999_drop.sql', destroys }]);
    const fresh = await pendingMigrations(databaseUrl('postgres'), directory);
    assert.equal(fresh.length, journal.entries.length);
    assert.ok(
      fresh.every(({ destroys }) => destroys.length === 0),
      'an empty database has nothing to lose',
    );
  });

  test('tells what loses data from what does not', () => {
    const lose = [
      'DROP TABLE "messages" CASCADE',
      'alter table "a" drop column "b"',
      'truncate a',
      'delete from a',
      `ALTER TYPE "s" ADD VALUE 'x'`,
      'ALTER TABLE "a" ALTER COLUMN "b" SET DATA TYPE int',
      'alter table a rename column b to c',
    ];
    for (const sql of lose) assert.equal(destructiveStatements(`select 1; ${sql};`).length, 1, sql);
    const keep = [
      'create table t (id int)',
      'drop index i',
      'alter table a add column b text',
      '-- drop table messages',
      '/* truncate a */ select 1',
      'create function f() returns void language plpgsql as $$ begin delete from a; end $$',
      'alter table a add constraint c foreign key (b) references d (id) on delete cascade',
    ];
    for (const sql of keep) assert.deepEqual(destructiveStatements(sql), [], sql);
  });
});
