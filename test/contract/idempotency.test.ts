import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { createClient, type Item, Problem } from '../../src/client.ts';
import { type Answer, assertProblem, caller, newEndpoint, newNotice, unique } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { freePort, query } from '../support/postgres-server.ts';
import { type Service, spawnService, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { token } from '../support/tokens.ts';

const MANY = 200;
const NOTIFICATIONS = '/api/v1/notifications';
const HOOKS = '/api/v1/webhook-endpoints';

describe('safe retries and lost updates', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;
  let sink: Sink;
  // One key for all processes: otherwise each creates its own, which cannot open the others' secrets.
  const SECRETS_KEY = randomBytes(32).toString('base64');
  const env = () => ({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000', SECRETS_KEY });

  before(async () => {
    database = await createDatabase();
    service = await startService(env());
    sink = await startSink();
    const url = sink.url('/hook');
    const made = await caller(() => service)('POST', HOOKS, { body: { url, events: [newNotice().type] } });
    assert.equal(made.status, 201, made.text);
  });
  after(async () => {
    await service.stop();
    await sink.close();
    await database.drop();
  });

  const endpoints = async (url: string) =>
    (await query(database.name, 'select id from webhook_endpoints where url = $1', [url])).map(({ id }) => id);
  /** Returns what was queued with an email to this address: the email, and the endpoint's webhook. */
  const told = async (email: string) =>
    (
      await query(
        database.name,
        `select n.channel, case n.channel when 'email' then n.id end as id from notifications n
         where n.message_id in (select message_id from notifications where recipient = $1) order by n.channel`,
        [email],
      )
    ).map(({ channel, id }) => [channel, id]);
  const onceTold = (id: unknown) => [
    ['email', id],
    ['webhook', null],
  ];

  for (const [path, status] of [
    [HOOKS, 201],
    [NOTIFICATIONS, 202],
  ] as const) {
    test(`${MANY} concurrent POSTs to ${path} with one key: one effect, ${MANY} equal answers`, async () => {
      const call = caller(() => service);
      const [endpoint, notice] = [newEndpoint(), newNotice()];
      const body = path === HOOKS ? endpoint : notice;
      const headers = { 'Idempotency-Key': unique() };
      const answers = await Promise.all(Array.from({ length: MANY }, () => call('POST', path, { body, headers })));
      const whole = ({ status, text, headers }: Answer) => [status, text, headers.get('location'), headers.get('etag')];
      for (const answer of answers) assert.deepEqual(whole(answer), whole(answers[0] as Answer));
      assert.equal(answers[0]?.status, status);
      const replayed = answers.filter((answer) => answer.headers.get('idempotent-replayed') === 'true');
      assert.equal(replayed.length, MANY - 1);
      const id = answers[0]?.json.id;
      if (path === HOOKS) assert.deepEqual(await endpoints(endpoint.url), [id]);
      else assert.deepEqual(await told(notice.email), onceTold(id));
    });
  }

  test('the same with the process killed in the middle and the clients retrying', async (t) => {
    // Two rounds at least, so that the kill falls differently: before, among and after the answers.
    for (const answersBeforeTheKill of [0, 1, 20]) {
      const port = await freePort();
      let running = await startService({ ...env(), PORT: String(port) });
      t.after(() => running.stop('SIGKILL'));
      const [endpoint, notice] = [newEndpoint(), newNotice()];
      const idempotencyKey = unique();
      const client = createClient(`http://127.0.0.1:${port}`, { token: token(), retries: 8 });
      let answered = 0;
      let enough = () => {};
      const reached = new Promise<void>((resolve) => {
        enough = resolve;
      });
      const calls = Array.from({ length: MANY }, async (_, i) => {
        const { webhookEndpoints, notifications } = client;
        const made = await (i % 2
          ? webhookEndpoints.create(endpoint, { idempotencyKey })
          : notifications.create(notice, { idempotencyKey }));
        if (++answered >= answersBeforeTheKill) enough();
        return made;
      });
      if (answersBeforeTheKill > 0) await reached;
      running.process.kill('SIGKILL');
      await once(running.process, 'exit');
      running = spawnService({ ...env(), PORT: String(port) });
      const made = await Promise.all(calls);
      for (const [i, one] of made.entries()) assert.deepEqual(one, made[i % 2]);
      assert.deepEqual(await endpoints(endpoint.url), [made[1]?.id]);
      assert.deepEqual(await told(notice.email), onceTold(made[0]?.id));
      await running.stop();
    }
  });

  test('100 concurrent read-modify-write loops with If-Match on one item lose no update', async () => {
    const client = createClient(service.url, { token: token() });
    const { id } = await client.webhookEndpoints.create({ ...newEndpoint(), description: '0' });
    const increment = async (): Promise<Item<'webhookEndpoints'>> => {
      for (;;) {
        const { description, version } = await client.webhookEndpoints.get(id);
        const next = { ...newEndpoint(), description: String(Number(description) + 1) };
        const done = await client.webhookEndpoints.replace(id, next, { version }).catch((error) => {
          if (error instanceof Problem && error.code === 'precondition-failed') return undefined;
          throw error;
        });
        if (done) return done;
      }
    };
    const done = await Promise.all(Array.from({ length: 100 }, increment));
    const last = await client.webhookEndpoints.get(id);
    assert.equal(last.description, '100');
    assert.equal(last.version, 101);
    assert.equal(new Set(done.map(({ version }) => version)).size, 100);
  });

  test('a key is one of its subject and of its route', async () => {
    const [one, other] = [caller(() => service), caller(() => service)];
    const headers = { 'Idempotency-Key': unique() };
    const hook = { url: sink.url('/elsewhere'), events: ['nothing.ever'] };
    const first = await one('POST', HOOKS, { body: hook, headers });
    const theirs = await other('POST', HOOKS, { body: newEndpoint(), headers });
    for (const { status } of [first, theirs]) assert.equal(status, 201);
    assert.notEqual(theirs.json.id, first.json.id);
    assert.equal((await one('POST', NOTIFICATIONS, { body: newNotice(), headers })).status, 202);
    const second = await one('POST', HOOKS, { body: hook });
    for (const { json } of [first, second]) {
      const tested = await one('POST', `${HOOKS}/${json.id}/test`, { headers });
      assert.equal(tested.headers.get('idempotent-replayed'), null);
      assert.equal(tested.json.endpointId, json.id);
    }
    const reused = await one('POST', HOOKS, { body: newEndpoint(), headers });
    assertProblem(reused, 422, 'idempotency-key-reused');
  });
});
