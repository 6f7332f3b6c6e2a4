// npm run receiver, as a process of its own.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { newNotice } from '../conformance/target.ts';
import { startCommand } from '../support/command.ts';
import { ownDatabase } from '../support/databases.ts';
import { SECRET } from '../support/deps.ts';
import { query } from '../support/postgres-server.ts';
import { scriptOn } from '../support/runtimes.ts';
import { startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`;
const ID = '01900000-0000-7000-8000-000000000001';
const BODY = '{"type":"invoice.paid","timestamp":"2026-11-26T10:00:00.000Z","data":{"name":"Zoë"}}';

/** Starts the command on a free port. */
function start(t: TestContext, args: string[], env: Record<string, string> = {}, dotenv = '') {
  const cwd = mkdtempSync(join(tmpdir(), 'keelson-receiver-'));
  writeFileSync(join(cwd, '.env'), dotenv);
  const receiver = startCommand([...scriptOn('node', 'src/entry/receiver.ts'), '--port', '0', ...args], { cwd, env });
  t.after(async () => {
    receiver.process.kill('SIGKILL');
    await receiver.ended;
    rmSync(cwd, { recursive: true, force: true });
  });
  const url = async () => (await receiver.printed(/^Receiving webhooks on (http:\S+\/)/m))[1] as string;
  return { ...receiver, url };
}

type Sent = { id?: string; at?: Date; body?: string; signatures?: string };

/** Sends a webhook signed with `secret` as the specification says, unless overridden. */
async function send(url: string, secret: string, { id = ID, at = new Date(), body = BODY, signatures }: Sent = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': signatures ?? new Webhook(secret).sign(id, at, body),
    },
    body,
  });
  await response.arrayBuffer();
  return response.status;
}

/** The lines about webhooks, without their times. */
const linesOf = (output: string) => Array.from(output.matchAll(/^\d{4}-\S+Z {2}(.*)$/gm), ([, line]) => line as string);

test('the receiver says of each webhook whether it is verified, its type and id, and whether it is a repeat', async (t) => {
  const secret = newSecret();
  const receiver = start(t, ['--secret', secret]);
  const url = await receiver.url();
  assert.equal(await send(url, secret), 204);
  assert.equal(await send(url, secret), 204);
  // During a rotation two secrets sign.
  const both = [newSecret(), secret].map((each) => new Webhook(each).sign('other', new Date(), BODY)).join(' ');
  assert.equal(await send(url, secret, { id: 'other', signatures: both }), 204);
  assert.deepEqual(linesOf(receiver.output()), [
    `invoice.paid  ${ID}  verified, new`,
    `invoice.paid  ${ID}  verified, a repeat`,
    'invoice.paid  other  verified, new',
  ]);
  receiver.process.kill('SIGINT');
  assert.equal(await receiver.ended, 0, receiver.errors());
});

test('the receiver takes nothing that is signed by another, altered, too old or too large, and shows no such words', async (t) => {
  const secret = newSecret();
  const receiver = start(t, [], { WEBHOOK_SECRET: secret });
  const url = await receiver.url();
  const now = new Date();
  const minutesAgo = new Date(now.getTime() - 6 * 60_000);
  const signatures = new Webhook(secret).sign(ID, now, BODY);
  assert.equal(await send(url, newSecret()), 401);
  assert.equal(await send(url, secret, { at: now, signatures, body: `${BODY} ` }), 401);
  assert.equal(await send(url, secret, { at: minutesAgo }), 401);
  const body = JSON.stringify({ type: '\u001b[2J' });
  assert.equal(await send(url, newSecret(), { id: '"><', body }), 401);
  assert.equal((await fetch(url, { method: 'POST', body: 'not signed' })).status, 401);
  const large = await fetch(url, { method: 'POST', body: 'x'.repeat(1024 * 1024 + 1) });
  assert.equal(large.status, 413);
  // None of them counts as received.
  assert.equal(await send(url, secret), 204);
  assert.deepEqual(linesOf(receiver.output()), [
    `invoice.paid  ${ID}  NOT VERIFIED: No matching signature found`,
    `invoice.paid  ${ID}  NOT VERIFIED: No matching signature found`,
    `invoice.paid  ${ID}  NOT VERIFIED: Message timestamp too old`,
    '?  ?  NOT VERIFIED: No matching signature found',
    '?  ?  NOT VERIFIED: Missing required headers',
    `invoice.paid  ${ID}  verified, new`,
  ]);
  assert.ok(!receiver.output().includes(secret));
});

test('the receiver answers as it is told, and ends after as many webhooks as it is told', async (t) => {
  const secret = newSecret();
  const receiver = start(t, ['--secret', secret, '--status', '500', '--count', '2']);
  const url = await receiver.url();
  for (const id of ['a', 'a', 'b']) assert.equal(await send(url, secret, { id }), 500);
  assert.equal(await receiver.ended, 0);
});

test('without a secret the receiver registers itself for as long as it runs, and gets what the service sends', async (t) => {
  const database = await ownDatabase(t);
  const service = await startService({ DATABASE_URL: database.url });
  t.after(() => service.stop('SIGKILL'));
  const env = { JWT_SECRET: SECRET, PORT: new URL(service.url).port };
  const endpoints = async () => (await query(database.name, 'select url from webhook_endpoints')).map(({ url }) => url);

  const killed = start(t, [], env);
  const url = await killed.url();
  killed.process.kill('SIGKILL');
  await killed.ended;
  // The service's settings may be in .env.
  const dotenv = `JWT_SECRET='${env.JWT_SECRET}'\nPORT=${env.PORT}\n`;
  const receiver = start(t, ['--port', new URL(url).port, '--count', '1'], {}, dotenv);
  assert.equal(await receiver.url(), url);
  assert.deepEqual(await endpoints(), [url], 'in place of the one that was killed');

  const told = await fetch(`${service.url}/api/v1/notifications`, {
    method: 'POST',
    headers: headers(),
    body: JSON.stringify({ ...newNotice(), type: 'invoice.paid' }),
  });
  assert.equal(told.status, 202);
  assert.equal(await receiver.ended, 0, receiver.errors());
  assert.match(linesOf(receiver.output()).join(), /^invoice\.paid {2}[0-9a-f-]{36} {2}verified, new$/);
  assert.deepEqual(await endpoints(), []);
});

test('the receiver says how it is used, and what to do where it cannot register itself', async (t) => {
  const wrong: [args: string[], env: Record<string, string>, why: RegExp][] = [
    [['--port', '70000'], {}, /^--port must be a whole number from 0 to 65535\nusage: npm run receiver/],
    [['--nope'], {}, /--nope.*\nusage: /s],
    [['--secret', 'whsec_secret!'], {}, /^the secret must be whsec_ and base64/],
    [[], { PORT: '1' }, /^Cannot register at http:\/\/127\.0\.0\.1:1: .*\n.*\n\ncurl http:.*\n.*\n.*events/],
    [
      [],
      { PORT: '1', JWKS_URL: 'https://issuer.example/keys' },
      /JWT_SECRET is not set.*\n.*\n\ncurl http:.*\n.*\n.*events/,
    ],
    [[], { PORT: 'x' }, /^PORT must be .*\n$/],
  ];
  for (const [args, env, why] of wrong) {
    const { ended, output, errors } = start(t, args, env);
    assert.deepEqual([await ended, output()], [1, '']);
    assert.match(errors(), why);
    assert.doesNotMatch(errors(), /secret!|\n\s+at /);
  }
});
