import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { createClient, Problem, type User } from '../../src/client.ts';
import { type Answer, assertProblem, caller, unique, uniqueEmail } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { freePort, query } from '../support/postgres-server.ts';
import { type Service, spawnService, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { token } from '../support/tokens.ts';

const MANY = 200;
const USERS = '/api/v1/users';
const HOOKS = '/api/v1/webhook-endpoints';

describe('safe retries and lost updates', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;
  let sink: Sink;
  // One key for all processes: without, each makes its own, which opens no secret of another's.
  const SECRETS_KEY = randomBytes(32).toString('base64');
  const env = () => ({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000', SECRETS_KEY });

  before(async () => {
    database = await createDatabase();
    service = await startService(env());
    sink = await startSink();
    const url = sink.url('/hook');
    const made = await caller(() => service)('POST', HOOKS, { body: { url, events: ['user.created'] } });
    assert.equal(made.status, 201, made.text);
  });
  after(async () => {
    await service.stop();
    await sink.close();
    await database.drop();
  });

  const users = async (email: string) =>
    (await query(database.name, 'select id from users where email = $1', [email])).map(({ id }) => id as string);
  /** Channels of what was queued because of a user: a welcome by email, and the endpoint's webhook. */
  const told = async (id: string) =>
    (await query(database.name, 'select channel from notifications where user_id = $1 order by channel', [id])).map(
      ({ channel }) => channel,
    );

  test(`${MANY} concurrent POSTs with one key: one user, one set of notifications, ${MANY} equal answers`, async () => {
    const call = caller(() => service);
    const body = { email: uniqueEmail(), name: 'Once' };
    const headers = { 'Idempotency-Key': unique() };
    const answers = await Promise.all(Array.from({ length: MANY }, () => call('POST', USERS, { body, headers })));
    const whole = ({ status, text, headers }: Answer) => [status, text, headers.get('location'), headers.get('etag')];
    for (const answer of answers) assert.deepEqual(whole(answer), whole(answers[0] as Answer));
    assert.equal(answers[0]?.status, 201);
    const replayed = answers.filter((answer) => answer.headers.get('idempotent-replayed') === 'true');
    assert.equal(replayed.length, MANY - 1);
    assert.deepEqual(await users(body.email), [answers[0]?.json.id]);
    assert.deepEqual(await told(answers[0]?.json.id), ['email', 'webhook']);
  });

  test('the same with the process killed in the middle and the clients retrying', async (t) => {
    // Two rounds at least, so that the kill falls differently: before, among and after the answers.
    for (const answersBeforeTheKill of [0, 1, 20]) {
      const port = await freePort();
      let running = await startService({ ...env(), PORT: String(port) });
      t.after(() => running.stop('SIGKILL'));
      const email = uniqueEmail();
      const idempotencyKey = unique();
      const client = createClient(`http://127.0.0.1:${port}`, { token: token(), retries: 8 });
      let answered = 0;
      let enough = () => {};
      const reached = new Promise<void>((resolve) => {
        enough = resolve;
      });
      const calls = Array.from({ length: MANY }, async () => {
        const user = await client.users.create({ email, name: 'Once' }, { idempotencyKey });
        if (++answered >= answersBeforeTheKill) enough();
        return user;
      });
      if (answersBeforeTheKill > 0) await reached;
      running.process.kill('SIGKILL');
      await once(running.process, 'exit');
      running = spawnService({ ...env(), PORT: String(port) });
      const made = await Promise.all(calls);
      for (const user of made) assert.deepEqual(user, made[0]);
      assert.deepEqual(await users(email), [made[0]?.id]);
      assert.deepEqual(await told(made[0]?.id as string), ['email', 'webhook']);
      await running.stop();
    }
  });

  test('100 concurrent read-modify-write loops with If-Match on one user lose no update', async () => {
    const client = createClient(service.url, { token: token() });
    const { id, email } = await client.users.create({ email: uniqueEmail(), name: '0' });
    const increment = async (): Promise<User> => {
      for (;;) {
        const { name, version } = await client.users.get(id);
        const next = { email, name: String(Number(name) + 1) };
        const done = await client.users.replace(id, next, { version }).catch((error) => {
          if (error instanceof Problem && error.code === 'precondition-failed') return undefined;
          throw error;
        });
        if (done) return done;
      }
    };
    const done = await Promise.all(Array.from({ length: 100 }, increment));
    const last = await client.users.get(id);
    assert.equal(last.name, '100');
    assert.equal(last.version, 101);
    assert.equal(new Set(done.map(({ version }) => version)).size, 100);
  });

  test('a key is one of its subject and of its route', async () => {
    const [one, other] = [caller(() => service), caller(() => service)];
    const headers = { 'Idempotency-Key': unique() };
    const made: string[] = [];
    for (const call of [one, other]) {
      const body = { email: uniqueEmail(), name: 'Same key' };
      const answer = await call('POST', USERS, { body, headers });
      assert.equal(answer.status, 201);
      made.push(answer.json.id);
    }
    const [userId] = made;
    const notified = { userId, type: 'a.b', data: {} };
    const hook = { url: sink.url('/elsewhere'), events: ['nothing.ever'] };
    assert.equal((await one('POST', '/api/v1/notifications', { body: notified, headers })).status, 202);
    const first = await one('POST', HOOKS, { body: hook, headers });
    assert.equal(first.status, 201);
    const second = await one('POST', HOOKS, { body: hook });
    for (const { json } of [first, second]) {
      const tested = await one('POST', `${HOOKS}/${json.id}/test`, { headers });
      assert.equal(tested.headers.get('idempotent-replayed'), null);
      assert.equal(tested.json.endpointId, json.id);
    }
    const reused = await one('POST', USERS, { body: { email: uniqueEmail(), name: 'x' }, headers });
    assertProblem(reused, 422, 'idempotency-key-reused');
  });
});
