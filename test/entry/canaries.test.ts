// A distinct word in everything secret or personal, whatever becomes of it: none may appear where it does not belong.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { connectTo, ownDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { startProxy } from '../support/proxy.ts';
import { scriptOn } from '../support/runtimes.ts';
import { type Service, spawnService, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers, token } from '../support/tokens.ts';

const entries = join(import.meta.dirname, '../../src/entry');

type Env = Record<string, string>;
// biome-ignore lint/suspicious/noExplicitAny: what a server answers has no type until a test has looked at it
type Json = any;

/** Canaries by what they are put into. */
function aviary() {
  const all = new Map<string, string>();
  const add = (what: string, value: string) => {
    assert.ok(!all.has(what), what);
    all.set(what, value);
    return value;
  };
  return {
    add,
    /** Returns a new canary of only letters and digits, so that no encoding hides it. */
    canary: (what: string) => add(what, `canary${randomBytes(8).toString('hex')}`),
    /** What the canaries in the text were put into. */
    seenIn: (text: string) =>
      [...all].filter(([, value]) => text.toLowerCase().includes(value.toLowerCase())).map(([what]) => what),
  };
}
type Aviary = ReturnType<typeof aviary>;

const key = () => randomBytes(32).toString('base64');

function withPassword(databaseUrl: string, password: string): string {
  const url = new URL(databaseUrl);
  url.password = password;
  return url.href;
}

/** Returns a configuration with canaries as secrets. `outside` is where the exporter and the email provider are. */
function secretConfig({ canary, add }: Aviary, databaseUrl: string, outside: (path: string) => string): Env {
  const [earlier, other] = [add('SECRETS_KEYS_OLD', key()), add('the second of SECRETS_KEYS_OLD', key())];
  return {
    DATABASE_URL: withPassword(databaseUrl, canary('the password in DATABASE_URL')),
    JWT_SECRET: `${canary('JWT_SECRET')}-of-32-bytes`,
    SECRETS_KEY: add('SECRETS_KEY', key()),
    SECRETS_KEYS_OLD: `${earlier},${other}`,
    EMAIL_PROVIDER: 'resend',
    EMAIL_FROM: `Keelson <${canary('EMAIL_FROM')}@example.com>`,
    RESEND_API_KEY: canary('RESEND_API_KEY'),
    RESEND_URL: outside(`/${canary('RESEND_URL')}`),
    OTEL_EXPORTER_OTLP_ENDPOINT: outside(`/${canary('OTEL_EXPORTER_OTLP_ENDPOINT')}`),
    OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${canary('OTEL_EXPORTER_OTLP_HEADERS')}`,
    LOG_LEVEL: 'debug',
  };
}

/** Sends requests to the service and keeps the answers. */
function asker(service: Service) {
  const answers: string[] = [];
  async function ask(method: string, path: string, own: Env, body?: unknown) {
    const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(service.url + path, {
      method,
      headers: own,
      ...(text !== undefined && { body: text }),
    });
    const answer = await response.text();
    answers.push(`${[...response.headers].join('\n')}\n${answer}`);
    const json: Json = answer.startsWith('{') ? JSON.parse(answer) : {};
    return { status: response.status, json };
  }
  return { ask, answers: () => answers.join('\n') };
}

async function metricsOf(service: Service): Promise<string> {
  const { url } = await service.line(({ msg }) => msg === 'metrics listening');
  return (await fetch(url as string)).text();
}

const tracesIn = (sink: Sink) =>
  sink.hooks
    .filter(({ path }) => path.endsWith('/v1/traces'))
    .map(({ body }) => body)
    .join('\n');

/** Starts the service with canaries in its configuration, on a proxied database, with a sink for all that it calls. */
async function setUp(t: TestContext) {
  const database = await ownDatabase(t);
  const proxy = await startProxy(database.url);
  const sink = await startSink();
  t.after(async () => {
    proxy.close();
    await sink.close();
  });
  const config = aviary();
  const env = secretConfig(config, proxy.url, sink.url);
  const service = await startService({ REQUEST_TIMEOUT_MS: '3000', SHUTDOWN_TIMEOUT_MS: '15000', ...env });
  t.after(() => service.stop('SIGKILL'));
  const secret = env.JWT_SECRET as string;
  const client = aviary();
  const bearer = token({ secret });
  client.add('a good token', bearer.split('.')[2] as string);
  const good = { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' };
  return { database, proxy, sink, config, client, env, service, secret, good, ...asker(service) };
}

/** Stops the service and looks for canaries everywhere. */
async function assertNoneSeen({ service, config, client, sink, answers }: Awaited<ReturnType<typeof setUp>>) {
  const metrics = await metricsOf(service);
  assert.equal(await service.stop(), 0, service.output());
  const traces = tracesIn(sink);
  assert.ok(metrics.includes('http_request') && traces.includes('http.route'), 'there is something to look at');
  for (const [where, text] of Object.entries({ output: service.output(), metrics, traces })) {
    assert.deepEqual([...config.seenIn(text), ...client.seenIn(text)], [], where);
  }
  assert.deepEqual(config.seenIn(answers()), [], 'answers');
  const hooks = sink.hooks.filter(({ path }) => path.startsWith('/hook'));
  assert.deepEqual(config.seenIn(JSON.stringify(hooks)), [], 'webhooks');
}

const HOOKS = '/api/v1/webhook-endpoints';
const TOLD = '/api/v1/notifications';
const NOBODY = '01900000-0000-7000-8000-000000000000';

test('whatever a client sends and however it is refused, nothing of it and no secret is told', async (t) => {
  const house = await setUp(t);
  const { client, secret, good, ask, sink, service } = house;
  const { canary } = client;
  const hookUrl = () => sink.url(`/hook/${canary('the path of a URL')}?key=${canary('the query of a URL')}`);

  // Well-formed.
  const person = { email: `${canary('an email address')}@example.com`, data: { name: canary('a name') } };
  const notice = { ...person, type: 'order.sent' };
  const made = await ask('POST', TOLD, { ...good, 'Idempotency-Key': canary('an Idempotency-Key') }, notice);
  assert.equal(made.status, 202);
  const hook = { url: hookUrl(), events: ['*'], description: canary('a description') };
  const hooked = await ask('POST', HOOKS, good, hook);
  assert.equal(hooked.status, 201);
  client.add('a webhook secret', hooked.json.secret);
  const rotated = await ask('POST', `${HOOKS}/${hooked.json.id}/rotate-secret`, good);
  client.add('a rotated webhook secret', rotated.json.secret);
  const own = `${HOOKS}/${hooked.json.id}`;
  const change = { ...hook, url: `${hook.url}&more`, description: canary('another description') };
  assert.equal((await ask('PUT', own, good, change)).status, 200);
  const data = { [canary('a key of data')]: canary('a value of data') };
  assert.equal((await ask('POST', TOLD, good, { ...notice, data })).status, 202);
  assert.equal((await ask('POST', `${HOOKS}/${hooked.json.id}/test`, good)).status, 202);

  // Refused, each for its reason.
  const word = (what: string) => ({ [canary(`a member's name, ${what}`)]: canary(`a member, ${what}`) });
  const expected: [status: number, method: string, path: string, headers: Env, body?: unknown][] = [
    [409, 'POST', `${TOLD}/${made.json.id}/redrive`, good],
    [422, 'POST', TOLD, { ...good, 'Idempotency-Key': 'k' }, { ...notice, email: canary('no email address') }],
    [422, 'POST', HOOKS, good, { url: `ftp://${canary('a URL that is refused')}`, events: [canary('no event!')] }],
    [422, 'POST', HOOKS, good, word('of an endpoint')],
    [
      422,
      'POST',
      TOLD,
      good,
      { email: canary('no address'), type: `No ${canary('event type')}`, data: canary('no data') },
    ],
    [422, 'POST', TOLD, good, word('of a notification')],
    [422, 'PUT', own, good, word('of a change')],
    [404, 'PUT', `${HOOKS}/${NOBODY}`, good, { ...hook, description: canary('description of nothing') }],
    [422, 'POST', TOLD, good, { type: 'order.sent', data: { x: canary('data for nobody') } }],
    [400, 'POST', HOOKS, good, `{"url": "${canary('malformed JSON')}`],
    [413, 'POST', HOOKS, good, canary('a long body').repeat(5000)],
    [
      415,
      'POST',
      HOOKS,
      { ...good, 'Content-Type': `text/${canary('a content type')}` },
      canary('a body of another type'),
    ],
    [412, 'PUT', own, { ...good, 'If-Match': `"${canary('an If-Match')}"` }, hook],
    [400, 'POST', HOOKS, { ...good, 'Idempotency-Key': `"${canary('a malformed Idempotency-Key')}` }, hook],
    [422, 'POST', HOOKS, { ...good, 'Idempotency-Key': client.add('a key used again', 'key-used-again') }, { url: 1 }],
    [401, 'GET', HOOKS, { Authorization: `Bearer ${canary('a token that is none')}` }],
    [401, 'GET', HOOKS, { Authorization: `Basic ${canary('a password')}` }],
    [401, 'GET', HOOKS, { Authorization: canary('a scheme') }],
    [401, 'GET', HOOKS, headers({ claims: { sub: canary('the subject of a forged token') } })],
    [403, 'GET', HOOKS, headers({ secret, claims: { scope: canary('a scope') } })],
    [404, 'GET', `/nowhere?x=${canary('the query of an unknown path')}`, good],
    [405, 'PATCH', `${HOOKS}?x=${canary('the query of a wrong method')}`, good],
    [422, 'GET', `${HOOKS}?email=${canary('email in a query')}`, good],
    [422, 'GET', `${HOOKS}?limit=${canary('limit')}&${canary('an unknown parameter')}=${canary('its value')}`, good],
    [400, 'GET', `${HOOKS}?cursor=${canary('a cursor')}`, good],
    [
      422,
      'GET',
      `${TOLD}?status=${canary('a status')}&email=${canary('an email in a query')}&channel=${canary('a channel')}`,
      good,
    ],
    [200, 'GET', HOOKS, { ...headers({ secret, claims: { sub: `${canary('an address as subject')}@example.com` } }) }],
  ];
  const others = [
    'Cookie',
    'User-Agent',
    'Referer',
    'Origin',
    'X-Forwarded-For',
    'traceparent',
    'tracestate',
    'If-None-Match',
  ];
  others.push('Accept', 'Accept-Language', 'X-Api-Key', 'Proxy-Authorization', 'Forwarded', 'Baggage');
  const strange = Object.fromEntries(others.map((name) => [name, canary(name)]));
  expected.push([
    200,
    'GET',
    HOOKS,
    { ...good, ...strange, 'X-Request-Id': `not well-formed: ${canary('X-Request-Id')}` },
  ]);
  for (const [status, method, path, own, body] of expected) {
    const answer = await ask(method, path, own, body);
    assert.equal(answer.status, status, `${method} ${path} ${JSON.stringify(answer.json)}`);
  }
  const { json } = await ask('GET', `${TOLD}?channel=email`, good);
  await service.line(({ notificationId, msg }) => notificationId === json.data[0].id && /^notification /.test(msg));
  await assertNoneSeen(house);
});

test('what looks like a token, a secret or an address in a path is told nowhere', async (t) => {
  const house = await setUp(t);
  const { client, good, ask } = house;
  const { canary } = client;
  const jwt = (what: string) => {
    const claims = Buffer.from(JSON.stringify({ sub: canary(`${what}: its subject`) })).toString('base64url');
    const signature = canary(`${what}: its signature`);
    client.add(`${what}: its claims`, claims);
    return `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.${claims}.${signature}`;
  };
  for (const where of ['/', '/api/v1/', `${HOOKS}/`, `${TOLD}/`, '/problems/']) {
    for (const own of [good, {}]) {
      const from = `${where} ${'Authorization' in own ? 'with' : 'without'} a token`;
      await ask('GET', where + jwt(`a token in ${from}`), own);
      await ask('GET', `${where}whsec_${canary(`a webhook secret in ${from}`)}`, own);
      await ask('GET', `${where}${canary(`an address in ${from}`)}@example.com`, own);
      await ask('GET', `${where}${canary(`an escaped address in ${from}`)}%40example.com/more`, own);
    }
  }
  await assertNoneSeen(house);
});

test('a database that fails, and a secret that does not open, tell nothing of what they were given', async (t) => {
  const house = await setUp(t);
  const { client, good, ask, database, proxy, service } = house;
  const { canary } = client;
  const create = (name: string) =>
    ask('POST', TOLD, good, {
      email: `${name}-${canary(`the address of ${name}`)}@example.com`,
      type: 'order.sent',
      data: { text: `${name} ${canary(name)}` },
    });

  const sql = (text: string, values?: unknown[]) => query(database.name, text, values);
  await sql(`alter table messages add constraint refused check (body !~ 'refused ')`);
  await sql(`alter table notifications add constraint unwanted check (recipient !~ '^unwanted')`);
  await sql(`create function complain() returns trigger language plpgsql as
    $$ begin raise exception 'bad: %', new; end $$`);
  await sql(`create trigger complains before insert on messages for each row when (new.body ~ 'complained ')
    execute function complain()`);
  await sql(`create trigger grumbles before insert on notifications for each row when (new.recipient ~ '^grumbled')
    execute function complain()`);
  await sql(`create function convert() returns trigger language plpgsql as
    $$ begin new.created_at = new.recipient::timestamptz; return new; end $$`);
  await sql(`create trigger converts before insert on notifications for each row when (new.recipient ~ '^converted')
    execute function convert()`);
  for (const name of ['refused', 'unwanted', 'complained', 'grumbled', 'converted'])
    assert.equal((await create(name)).status, 500, name);

  const hooked = await ask('POST', HOOKS, good, { url: 'http://127.0.0.1:1/', events: ['a.b'] });
  const path = `${HOOKS}/${hooked.json.id}`;
  for (const sealed of [canary('what is no sealed text'), await createSecretBox(key()).seal(canary('a sealed text'))]) {
    await sql('update webhook_endpoints set secret = $1', [client.add(`stored: ${sealed}`, sealed)]);
    const { json } = await ask('POST', `${path}/test`, good);
    await service.line(({ notificationId, msg }) => notificationId === json.id && msg === 'notification retry');
    await service.line(
      ({ notificationId, msg }) => notificationId === json.id && msg === 'delivery failed unexpectedly',
    );
  }

  const locked = await connectTo(database.name);
  await locked.text('begin; lock table idempotency_keys in access exclusive mode');
  assert.equal((await create('late')).status, 504);
  await locked.close();
  proxy.goDead();
  proxy.blackHole(true);
  assert.equal((await create('unanswered')).status, 504);
  proxy.blackHole(false);
  await sql('alter table idempotency_keys rename to elsewhere');
  assert.equal((await create('nowhere')).status, 500);
  await query('postgres', `alter database ${database.name} allow_connections false`);
  proxy.cut();
  assert.equal((await create('unreachable')).status, 503);
  assert.equal((await ask('GET', '/ready', good)).status, 503);
  await assertNoneSeen(house);
});

test('receivers, an email provider and a collector that fail, whatever they answer, are told of without it', async (t) => {
  const house = await setUp(t);
  const { client, env, good, ask, sink, service } = house;
  const { canary } = client;
  const hangsUp = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  t.after(() => hangsUp.close());
  await new Promise((resolve) => hangsUp.once('listening', resolve));
  const { port } = hangsUp.address() as { port: number };

  const answers = (path: string, status: number, own: Env = {}) => {
    const echo = { [canary(`a header of ${path}`)]: canary(`its value, of ${path}`), ...own };
    const body = canary(`the body of ${path}`);
    sink.reply(path, (hook, response) =>
      response.writeHead(status, echo).end(`${body} ${hook.body} ${hook.headers.authorization}`),
    );
    return sink.url(path);
  };
  const secretPath = (what: string) => `/hook/${canary(`path of ${what}`)}?key=${canary(`query of ${what}`)}`;
  const urls = [
    answers(secretPath('500'), 500),
    answers(secretPath('400'), 400),
    answers(secretPath('410'), 410),
    answers(secretPath('a redirect'), 302, { Location: `http://127.0.0.1/${canary('where it leads')}` }),
    `http://127.0.0.1:${port}${secretPath('one that hangs up')}`,
    `http://127.0.0.1:1${secretPath('one that is away')}`,
    `https://127.0.0.1:${port}${secretPath('one without TLS')}`,
    `http://${canary('a name that leads nowhere')}.invalid${secretPath('one without an address')}`,
  ];
  for (const url of urls) {
    const hooked = await ask('POST', HOOKS, good, { url, events: ['nothing.ever'] });
    assert.equal(hooked.status, 201, url);
    const { json } = await ask('POST', `${HOOKS}/${hooked.json.id}/test`, good);
    await service.line(({ notificationId, level }) => notificationId === json.id && level === 'warn');
  }

  const at = (base: string | undefined, path: string) => new URL(base + path).pathname;
  const emails = at(env.RESEND_URL, '/emails');
  for (const status of [422, 500]) {
    sink.reply(emails, (hook, response) => {
      const body = {
        message: `${canary(`the provider's answer ${status}`)} ${hook.headers.authorization} ${hook.body}`,
      };
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    });
    const email = `${canary(`an address, ${status}`)}@example.com`;
    const notice = { email, type: 'order.sent', data: { name: canary(`a name, ${status}`) } };
    const { json } = await ask('POST', TOLD, good, notice);
    await service.line(({ notificationId, level }) => notificationId === json.id && level === 'warn');
  }

  const refused = (base: string | undefined) => answers(at(base, '/v1/traces'), 500);
  refused(env.OTEL_EXPORTER_OTLP_ENDPOINT);
  await ask('GET', HOOKS, good);
  await service.line(({ msg }) => msg === 'traces refused');
  await assertNoneSeen(house);
});

test('a key server, a collector and a provider that cannot be reached are told of without their URLs', async (t) => {
  const { url } = await ownDatabase(t);
  const sink = await startSink();
  t.after(() => sink.close());
  const config = aviary();
  const { canary } = config;
  const away = (what: string) => `http://127.0.0.1:1/${canary(`${what}, path`)}?key=${canary(`${what}, query`)}`;
  const nonsense = `/keys?key=${canary('JWKS_URL')}`;
  sink.reply(nonsense, (_, response) => response.end(canary('what is no key set')));
  const env = { ...secretConfig(config, url, () => ''), RESEND_URL: away('RESEND_URL'), JWT_SECRET: '' };
  for (const JWKS_URL of [away('JWKS_URL'), sink.url(nonsense)]) {
    const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: away(`OTEL_EXPORTER_OTLP_ENDPOINT beside ${JWKS_URL.length}`) };
    const service = await startService({ ...env, ...tracing, JWKS_URL });
    t.after(() => service.stop('SIGKILL'));
    const { ask, answers } = asker(service);
    const bearer = token({ header: { alg: 'RS256', kid: canary(`a key id beside ${JWKS_URL.length}`) } });
    assert.equal((await ask('GET', HOOKS, { Authorization: `Bearer ${bearer}` })).status, 503);
    await service.line(({ msg }) => msg === 'JWKS fetch failed');
    await service.line(({ msg }) => msg === 'traces not exported');
    assert.equal(await service.stop(), 0);
    assert.deepEqual(config.seenIn(service.output() + answers()), []);
  }
});

/** The names of all variables. */
const VARIABLES = Array.from(
  readFileSync(join(entries, 'config.ts'), 'utf8').matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm),
  (found) => found[1] as string,
);

test('a configuration that is refused, or leads nowhere, is told without its values, by every command', async (t) => {
  const database = await ownDatabase(t);
  const foreign = await createSecretBox(key()).seal('whsec_AAAA');
  await query(
    database.name,
    `insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
     values (uuid_v7(), 'https://example.com/', '{a.b}', $1, now(), now())`,
    [foreign],
  );
  const config = aviary();
  const { canary, add } = config;
  assert.ok(VARIABLES.includes('SECRETS_KEYS_OLD') && VARIABLES.length > 40, `${VARIABLES}`);
  const good = secretConfig(config, database.url, () => 'http://127.0.0.1:1/');
  delete good.RESEND_URL;
  const password = canary('a password in a URL');
  const broken: Record<string, Env> = {
    everything: Object.fromEntries(VARIABLES.map((name) => [name, canary(`${name}, of nothing but canaries`)])),
    keys: { ...good, SECRETS_KEY: `${canary('part of a key')}=`, SECRETS_KEYS_OLD: `${add('a good one', key())},x` },
    'the keys of another database': good,
    'a host that is none': { ...good, DATABASE_URL: `postgres://someone:${password}@[bad/app` },
    'a port where nobody listens': { ...good, DATABASE_URL: `postgres://someone:${password}@127.0.0.1:1/app` },
    'a name that leads nowhere': { ...good, DATABASE_URL: `postgres://someone:${password}@nowhere.invalid/app` },
    'no such database': { ...good, DATABASE_URL: withPassword(database.url.replace(database.name, 'none'), password) },
    'no such certificate': { ...good, DATABASE_URL: `${withPassword(database.url, password)}?sslrootcert=/nowhere` },
    'a malformed escape': { ...good, DATABASE_URL: `postgres://someone:%${password}@127.0.0.1:1/app` },
    'over HTTP': { ...good, DATABASE_FETCH_ENDPOINT: `http://127.0.0.1:1/?key=${canary('DATABASE_FETCH_ENDPOINT')}` },
  };
  for (const [what, env] of Object.entries(broken)) {
    const service = spawnService(env);
    t.after(() => service.stop('SIGKILL'));
    const listening = service.line(({ msg }) => msg === 'listening').then(({ msg }) => msg);
    assert.equal(await Promise.race([service.exited, listening.catch(() => service.exited)]), 1, what);
    assert.deepEqual(config.seenIn(service.output()), [], what);
    // A token is made without a database.
    const commands = ['migrate', 'reseal-secrets', ...(/everything|^keys/.test(what) ? ['token'] : [])];
    const outputs = await Promise.all(commands.map((command) => outputOf(t, command, env)));
    for (const output of outputs) assert.deepEqual(config.seenIn(output), [], `${what}:\n${output}`);
  }
});

/** Returns what a command in src/entry prints, however it ends. */
function outputOf(t: TestContext, command: string, env: Env): Promise<string> {
  const cwd = mkdtempSync(join(tmpdir(), 'keelson-canaries-'));
  t.after(() => rmSync(cwd, { recursive: true, force: true }));
  const options = { cwd, env: { PATH: process.env.PATH, ...env } };
  const [node, ...args] = scriptOn('node', `src/entry/${command}.ts`);
  return new Promise((resolve) => {
    execFile(node, args, options, (_, stdout, stderr) => resolve(stdout + stderr));
  });
}
