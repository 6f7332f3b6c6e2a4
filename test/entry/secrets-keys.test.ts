// How a start judges its keys, given what is sealed in the database.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { ownDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, spawnService, startService, untilReady } from '../support/service.ts';

const newKey = () => randomBytes(32).toString('base64');
const KEY = newKey();
const OTHER = newKey();
const ANYTHING = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;

/** Creates a database with an endpoint for each `key`, in this order. `before` is the key of its replaced secret. */
async function databaseWith(t: TestContext, endpoints: { key: string; before?: string; until?: string }[]) {
  const database = await ownDatabase(t);
  for (const { key, before, until = '1 hour' } of endpoints) {
    const secret = await createSecretBox(key).seal(ANYTHING);
    const replaced = before === undefined ? null : await createSecretBox(before).seal(ANYTHING);
    await query(
      database.name,
      `insert into webhook_endpoints (id, url, events, secret, previous_secrets, created_at, updated_at)
       values (uuid_v7(), 'https://example.com/', '{a.b}', $1, case when $2::text is null then '[]' else
         jsonb_build_array(jsonb_build_object('secret', $2::text, 'until', now() + $3::interval)) end, now(), now())`,
      [secret, replaced, until],
    );
  }
  return database;
}

async function start(t: TestContext, env: Record<string, string>, command?: string[]): Promise<Service> {
  const service = await startService(env, command);
  t.after(() => service.stop('SIGKILL'));
  return service;
}

const warningsOf = ({ lines }: Service) => lines.filter(({ level }) => level === 'warn');

for (const [runtime, command] of Object.entries(COMMANDS)) {
  test(`${runtime}: a start with keys that open nothing that is sealed is refused, and told what to do`, async (t) => {
    const { url } = await databaseWith(t, [{ key: KEY }, { key: KEY, before: KEY }]);
    const service = spawnService({ DATABASE_URL: url, SECRETS_KEY: OTHER, SECRETS_KEYS_OLD: newKey() }, command);
    t.after(() => service.stop('SIGKILL'));
    const listening = service.line(({ msg }) => msg === 'listening').then(({ msg }) => msg);
    assert.equal(await Promise.race([service.exited, listening.catch(() => service.exited)]), 1, service.output());
    const [line, ...others] = service.lines;
    assert.deepEqual([line?.level, line?.msg, others], ['error', 'cannot start', []]);
    assert.match(JSON.stringify(line?.error), /SECRETS_KEYS_OLD/);
    assert.ok(!service.output().includes(OTHER));
  });
}

test('a start with the earlier key among SECRETS_KEYS_OLD is like any other, and so is one before anything is sealed', async (t) => {
  const { url } = await databaseWith(t, [{ key: KEY, before: KEY }]);
  const empty = await databaseWith(t, []);
  for (const env of [
    { DATABASE_URL: url, SECRETS_KEY: OTHER, SECRETS_KEYS_OLD: `${newKey()}, ${KEY}` },
    { DATABASE_URL: empty.url, SECRETS_KEY: OTHER },
  ]) {
    const service = await start(t, env);
    await untilReady(service.url);
    assert.deepEqual(warningsOf(service), []);
  }
});

test('keys that open some and not others start with a warning that counts the endpoints', async (t) => {
  const { url } = await databaseWith(t, [
    { key: OTHER },
    { key: KEY },
    { key: KEY, before: OTHER },
    { key: KEY, before: OTHER, until: '-1 hour' },
    { key: KEY, before: KEY },
  ]);
  const [warning, ...others] = warningsOf(await start(t, { DATABASE_URL: url, SECRETS_KEY: KEY }));
  assert.deepEqual([warning?.endpoints, others], [2, []], 'one whose secret, one whose replaced secret does not open');
  assert.match(warning?.msg ?? '', /SECRETS_KEYS_OLD/);
});

test('a running service whose keys open nothing any more is not ready', async (t) => {
  const database = await databaseWith(t, []);
  const service = await start(t, { DATABASE_URL: database.url, SECRETS_KEY: KEY });
  const secret = await createSecretBox(OTHER).seal(ANYTHING);
  await query(
    database.name,
    `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
     values (uuid_v7(), 'https://example.com/', '{a.b}', $1, now(), now())`,
    [secret],
  );
  // It may give another reason for a moment.
  let detail = '';
  for (let left = 50; left > 0 && !/keys/.test(detail); left--) {
    const answer = await fetch(`${service.url}/ready`);
    assert.equal(answer.status, 503);
    detail = ((await answer.json()) as { detail: string }).detail;
  }
  assert.match(detail, /keys/);
});

test('a start asks the database once, whatever it holds', async (t) => {
  const { url } = await databaseWith(t, [{ key: KEY }, { key: OTHER }]);
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
  t.after(() => endpoint.close());
  // In development it also stores the link that signs in to the console.
  const production = { APP_ENV: 'production', JWT_SECRET: newKey() };
  const env = { DATABASE_URL: url, DATABASE_FETCH_ENDPOINT: endpoint.url, DISPATCH_ENABLED: 'false', SECRETS_KEY: KEY };
  await start(t, { ...env, ...production });
  assert.equal(endpoint.requests(), 1);
});
