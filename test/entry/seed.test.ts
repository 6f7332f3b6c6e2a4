// npm run seed, as a process of its own.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openPglite } from '../../src/platform/db-pglite.ts';
import { listUsers } from '../../src/users/store.ts';
import { startCommand } from '../support/command.ts';
import { ownDatabase } from '../support/databases.ts';
import { inTime } from '../support/deps.ts';
import { ownDirectory } from '../support/directories.ts';
import { query } from '../support/postgres-server.ts';
import { scriptOn } from '../support/runtimes.ts';
import { COLUMNS, inTerminal } from '../support/terminal.ts';

const start = (t: TestContext, entry: string, args: string[], env: Record<string, string>, cwd = ownDirectory(t)) =>
  startCommand([...scriptOn('node', `src/entry/${entry}`), ...args], { cwd, env });

/** Runs a command to its end. */
async function run(t: TestContext, entry: string, args: string[], env: Record<string, string>) {
  const { ended, output, errors } = start(t, entry, args, env);
  return { code: await ended, stdout: output(), stderr: errors() };
}

const seed = (t: TestContext, args: string[], env: Record<string, string>) => run(t, 'seed.ts', args, env);

/** The last line of its output. */
const summary = (stdout: string) => stdout.trimEnd().split('\n').at(-1);

test('users are made as any other, each one with its event, and a second run makes those that are missing', async (t) => {
  const database = await ownDatabase(t);
  const count = async (table: string) => (await query(database.name, `select count(*)::int as n from ${table}`))[0]?.n;
  await query(
    database.name,
    `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
     values (uuid_v7(), 'https://example.com/', '{user.created}', 'sealed', now(), now())`,
  );
  const env = { DATABASE_URL: database.url };
  const first = await seed(t, ['--users', '300'], env);
  assert.deepEqual([first.code, first.stderr], [0, '']);
  assert.equal(summary(first.stdout), '300 users created, 0 already existed.');
  assert.deepEqual([await count('users'), await count('notifications'), await count('deliveries')], [300, 600, 600]);

  const second = await seed(t, ['--users', '450'], env);
  assert.deepEqual([second.code, second.stderr], [0, '']);
  assert.equal(summary(second.stdout), '150 users created, 300 already existed.');
  assert.deepEqual([await count('users'), await count('notifications')], [450, 900]);
});

test('stopped half-way, it has made what it says, and another run goes on from there', async (t) => {
  const database = await ownDatabase(t);
  const env = { DATABASE_URL: database.url };
  const stopped = start(t, 'seed.ts', ['--users', '1000000'], env);
  await stopped.printed(/^[\d,]+ of 1,000,000 users, [\d,]+\/s, [\d.]+ (s|min|h) left$/m);
  stopped.process.kill('SIGINT');
  assert.equal(await stopped.ended, 1);
  assert.match(stopped.errors(), /^Stopped: run it again/);
  const [row] = await query(database.name, 'select count(*)::int as n from users');
  const made = Number(row?.n).toLocaleString('en');
  assert.equal(summary(stopped.output()), `${made} users created, 0 already existed.`);
  const next = await seed(t, ['--users', String(Number(row?.n) + 10)], env);
  assert.equal(summary(next.stdout), `10 users created, ${made} already existed.`);
});

test('the embedded database is seeded and migrated too, unless a process has it', async (t) => {
  const directory = join(ownDirectory(t), 'db');
  const env = { DATABASE_URL: `pglite:${directory}` };
  assert.equal(summary((await seed(t, ['--users', '20'], env)).stdout), '20 users created, 0 already existed.');
  const { db, close } = await openPglite(directory);
  const users = await listUsers(db, { after: null, limit: 100, email: undefined }, inTime());
  assert.equal(users.length, 20);
  const busy = {
    code: 1,
    stdout: '',
    stderr: `${directory} is in use by process ${process.pid}: stop that process or, if it is another program, delete ${directory}.lock\n`,
  };
  assert.deepEqual(await seed(t, [], env), busy);
  assert.deepEqual(await run(t, 'migrate.ts', [], env), busy);
  await close();
});

test('the database of .env is seeded, as it is the one that the service has', async (t) => {
  const database = await ownDatabase(t);
  const directory = ownDirectory(t);
  writeFileSync(join(directory, '.env'), `DATABASE_URL=${database.url}\n`);
  const command = start(t, 'seed.ts', ['--users', '5'], {}, directory);
  assert.equal(await command.ended, 0, command.errors());
  assert.deepEqual(await query(database.name, 'select count(*)::int as n from users'), [{ n: 5 }]);
});

test('production is seeded only where that is meant', async (t) => {
  const database = await ownDatabase(t);
  const env = {
    APP_ENV: 'production',
    DATABASE_URL: database.url,
    JWT_SECRET: 'a secret of production, long enough for it',
    SECRETS_KEY: Buffer.alloc(32, 1).toString('base64'),
  };
  const refused = await seed(t, ['--users', '5'], env);
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.match(refused.stderr, /^APP_ENV is production: --yes creates 5 users there\n$/);
  assert.deepEqual(await query(database.name, 'select from users'), []);
  assert.equal(summary((await seed(t, ['--users', '5', '--yes'], env)).stdout), '5 users created, 0 already existed.');
});

test('the seed says how it is used, and where the database cannot be reached', async (t) => {
  const nowhere = { DATABASE_URL: 'postgres://me:hidden@127.0.0.1:1/none' };
  const wrong: [args: string[], why: RegExp][] = [
    [['--users', '0'], /^--users must be a whole number from 1 to 10000000\nusage: npm run seed/],
    [['--nope'], /--nope.*\nusage: /s],
    [[], /^cannot reach the database: ECONNREFUSED\n$/],
  ];
  for (const [args, why] of wrong) {
    const { code, stdout, stderr } = await seed(t, args, nowhere);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, why);
    assert.doesNotMatch(stderr, /hidden|\n\s+at /);
  }
});

test('on a terminal the seed shows its progress in one line, and what it did below', async (t) => {
  const { url } = await ownDatabase(t);
  const terminal = inTerminal(t, [...scriptOn('node', 'src/entry/seed.ts'), '--users', '400'], { DATABASE_URL: url });
  if (!terminal) return;
  await terminal.ended;
  const shown = terminal.screen().split('\r\x1b[K');
  assert.ok(shown.length > 2, terminal.screen());
  for (const line of shown.slice(1, -1)) {
    assert.match(line, /^\d+ of 400 users, [\d.,]+\/(?:s|min), [\d.]+ (?:s|min) left$/);
    assert.ok(line.length < COLUMNS);
  }
  assert.match(
    shown.at(-1) as string,
    /^400 of 400 users, [\d.,]+\/(?:s|min), 0 s left\n400 users created, 0 already existed\.\n$/,
  );
});
