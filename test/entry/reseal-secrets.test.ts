// npm run secrets:reseal, as a process of its own.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openPglite } from '../../src/platform/db-pglite.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { connectTo, ownDatabase } from '../support/databases.ts';
import { newEndpoint, rowsOf } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';
import { scriptOn } from '../support/runtimes.ts';
import { inTerminal } from '../support/terminal.ts';

const COMMAND = scriptOn('node', 'src/entry/reseal-secrets.ts');
const [node, ...args] = COMMAND;
const newKey = () => randomBytes(32).toString('base64');
const [OLD, NEW] = [newKey(), newKey()];
const KEYS = { SECRETS_KEY: NEW, SECRETS_KEYS_OLD: OLD };
const [old, now] = [createSecretBox(OLD), createSecretBox(NEW)];
/** More than a few batches. */
const MANY = 2600;

type Output = { code: number; stdout: string; stderr: string };

function ownDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-reseal-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Runs the command to its end, in an empty folder. */
function reseal(t: TestContext, env: Record<string, string>): Promise<Output> {
  const options = { cwd: ownDirectory(t), env: { PATH: process.env.PATH, ...env } };
  return new Promise((resolve) => {
    execFile(node, args, options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

/** Creates a database with `count` endpoints, all sealed under the old key. */
async function databaseOf(t: TestContext, count: number) {
  const database = await ownDatabase(t);
  const sealed = await old.seal('a secret');
  await query(
    database.name,
    `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
     select uuid_v7(), 'https://example.com/', '{a.b}', $1, now(), now() from generate_series(1, $2::int)`,
    [sealed, count],
  );
  return database;
}

/** How many endpoints' secrets the new key opens. */
async function underNew(database: string): Promise<number> {
  const [keyId] = await now.keyIds();
  const [row] = await query(
    database,
    `select count(*) filter (where split_part(secret, '.', 2) = $1)::int as n from webhook_endpoints`,
    [keyId],
  );
  return row?.n as number;
}

test('killed half-way and run again, it does what is left', async (t) => {
  const database = await databaseOf(t, MANY);
  // Another session locks an endpoint of a later batch, so that it is known where the first run stands.
  const holder = await connectTo(database.name);
  const nth = (await query(database.name, 'select id from webhook_endpoints order by id'))[1700]?.id;
  await holder.text(`begin; select from webhook_endpoints where id = '${nth}' for update`);

  const options = { cwd: ownDirectory(t), env: { PATH: process.env.PATH, DATABASE_URL: database.url, ...KEYS } };
  const first = spawn(node, args, { ...options, stdio: 'ignore' });
  t.after(() => first.kill('SIGKILL'));
  const blocked = () =>
    query(
      database.name,
      `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
  while ((await blocked()).length === 0) assert.equal(first.exitCode, null);
  first.kill('SIGKILL');
  await once(first, 'exit');
  // Its statement ends with it, instead of completing once the lock is released.
  for (const { pid } of await blocked()) await query(database.name, 'select pg_terminate_backend($1, 10000)', [pid]);
  await holder.close();
  const done = await underNew(database.name);
  assert.equal(done, 1500, 'whole batches, and nothing of the one it was at');

  const second = await reseal(t, { DATABASE_URL: database.url, ...KEYS });
  assert.deepEqual([second.code, second.stderr], [0, '']);
  assert.match(second.stdout, /2,600 webhook endpoints: 1,100 resealed, 1,500 with this key before, 0 not opened/);
  assert.equal(await underNew(database.name), MANY);
  const third = await reseal(t, { DATABASE_URL: database.url, SECRETS_KEY: NEW });
  assert.equal(third.stdout, '2,600 webhook endpoints: 0 resealed, 2,600 with this key before, 0 not opened.\n');
});

test('on a terminal it shows how far it is, how fast, and how long it will take', async (t) => {
  const database = await databaseOf(t, MANY);
  const terminal = inTerminal(t, COMMAND, { DATABASE_URL: database.url, ...KEYS });
  if (!terminal) return;
  await terminal.ended;
  const shown = terminal.screen().split('\r\x1b[K').slice(1);
  assert.match(shown[0] ?? '', /^500 of 2,600 webhook endpoints, [\d.,]+\/(?:s|min), [\d.]+ (?:s|min) left$/);
  assert.match(
    shown.at(-1) ?? '',
    /^2,600 of 2,600 webhook endpoints, [\d.,]+\/(?:s|min), 0 s left\n2,600 webhook endpoints: /,
  );
});

test('what no key opens is named, by the endpoint and with no value, and fails the command', async (t) => {
  const database = await databaseOf(t, 2);
  const foreign = await createSecretBox(newKey()).seal('foreign');
  const [lost] = await query(
    database.name,
    'update webhook_endpoints set secret = $1 where id = (select max(id::text)::uuid from webhook_endpoints) returning id',
    [foreign],
  );
  const { code, stdout, stderr } = await reseal(t, { DATABASE_URL: database.url, ...KEYS });
  assert.equal(code, 1);
  assert.match(stdout, /2 webhook endpoints: 1 resealed, 0 with this key before, 1 not opened/);
  assert.match(stderr, new RegExp(`SECRETS_KEYS_OLD.*\\n${lost?.id}\\n$`));
  for (const value of [foreign, OLD, NEW]) assert.ok(!(stdout + stderr).includes(value));
});

test('works on the embedded database, and over HTTP as on Neon', async (t) => {
  const directory = join(ownDirectory(t), 'db');
  const embedded = await openPglite(directory);
  await newEndpoint(embedded.db, undefined, await old.seal('a secret'));
  const DATABASE_URL = `pglite:${directory}`;
  const busy = await reseal(t, { DATABASE_URL, ...KEYS });
  assert.deepEqual(
    [busy.code, busy.stderr.split('\n')[0]],
    [
      1,
      `${directory} is in use by process ${process.pid}: stop that process or, if it is another program, delete ${directory}.lock`,
    ],
  );
  await embedded.close();
  const { code, stdout } = await reseal(t, { DATABASE_URL, ...KEYS });
  assert.deepEqual(
    [code, stdout.split('\n')[0]],
    [0, '1 webhook endpoints: 1 resealed, 0 with this key before, 0 not opened.'],
  );
  const again = await openPglite(directory);
  const [row] = await rowsOf<{ secret: string }>(again.db, 'select secret from webhook_endpoints');
  assert.equal(await now.open(row?.secret ?? ''), 'a secret');
  await again.close();

  const database = await databaseOf(t, MANY);
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  t.after(() => endpoint.close());
  const neon = await reseal(t, { DATABASE_URL: database.url, DATABASE_FETCH_ENDPOINT: endpoint.url, ...KEYS });
  assert.equal(neon.code, 0, neon.stderr);
  assert.equal(await underNew(database.name), MANY);
  assert.equal(endpoint.requests(), 2 + 6 + 6, 'the state, the count, and for each batch a reading and a writing one');
});

test('without SECRETS_KEY, or with keys that open nothing, it changes nothing and says why', async (t) => {
  const database = await databaseOf(t, 3);
  const wrong: [env: Record<string, string>, why: RegExp][] = [
    [{ SECRETS_KEYS_OLD: OLD }, /^SECRETS_KEY must be set\n/],
    [{ SECRETS_KEY: NEW }, /SECRETS_KEYS_OLD/],
    [{ ...KEYS, DATABASE_URL: 'postgres://someone:pa55word@127.0.0.1:1/app' }, /ECONNREFUSED/],
  ];
  for (const [env, why] of wrong) {
    const { code, stdout, stderr } = await reseal(t, { DATABASE_URL: database.url, ...env });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, why);
    assert.doesNotMatch(stderr, /\n\s+at |pa55word/);
  }
  assert.equal(await underNew(database.name), 0);
});
