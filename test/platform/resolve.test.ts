import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import pg from 'pg';
import { SendError } from '../../src/dispatcher/channels/send.ts';
import { hostsFile } from '../../src/platform/hosts-file.ts';
import { createResolver, type Resolve } from '../../src/platform/resolve.ts';
import { type Answering, startNameServer } from '../support/name-server.ts';
import { databaseUrl } from '../support/postgres-server.ts';

const closing: (() => void)[] = [];
after(() => {
  for (const close of closing) close();
});

type Options = Partial<Parameters<typeof createResolver>[0]>;

const AMPLE_MS = 10_000;

/** Creates a resolver that queries its own name server. */
async function resolving(answer: Answering, options: Options = {}) {
  const { address, asked, close } = await startNameServer(answer);
  closing.push(close);
  const resolve = createResolver({ allowPrivate: true, limitMs: AMPLE_MS, servers: [address], ...options });
  return { resolve, asked };
}

const addresses = async (found: ReturnType<Resolve>) => (await found).map(({ address }) => address);

async function fails(found: ReturnType<Resolve>, reason: string): Promise<void> {
  await assert.rejects(found, (error) => error instanceof SendError && error.message === reason);
}

test('gives the addresses of both families, IPv4 first, and of either alone', async () => {
  const zone: Record<string, string[]> = {
    'both.example': ['2001:db8::1', '192.0.2.1'],
    'four.example': ['192.0.2.4'],
    'six.example': ['2001:db8::6'],
  };
  const { resolve } = await resolving((name) => zone[name] ?? 'NXDOMAIN');
  assert.deepEqual(await resolve('both.example'), [
    { address: '192.0.2.1', family: 4 },
    { address: '2001:db8::1', family: 6 },
  ]);
  assert.deepEqual(await resolve('four.example'), [{ address: '192.0.2.4', family: 4 }]);
  assert.deepEqual(await resolve('SIX.example.'), [{ address: '2001:db8::6', family: 6 }]);
});

test('of a long list of addresses few are tried, and all are checked', async () => {
  const many = Array.from({ length: 20 }, (_, i) => `8.8.8.${i + 1}`);
  const { resolve } = await resolving((name) => (name === 'inside.example' ? [...many, '10.0.0.1'] : many), {
    allowPrivate: false,
  });
  assert.equal((await resolve('many.example')).length, 4);
  await fails(resolve('inside.example'), 'address not allowed');
});

test('a hundred who ask at once share one look-up, and each later one asks anew', async () => {
  const { resolve, asked } = await resolving(() => ['192.0.2.1']);
  const ask = () => addresses(resolve('a.example'));
  for (const found of await Promise.all(Array.from({ length: 100 }, ask))) assert.deepEqual(found, ['192.0.2.1']);
  assert.equal(asked.get('a.example A'), 1);
  await ask();
  assert.equal(asked.get('a.example A'), 2);
});

test('a failure stands for five seconds', async () => {
  let ms = 0;
  let reply: ReturnType<Answering> = 'NXDOMAIN';
  const { resolve, asked } = await resolving(() => reply, { now: () => ms, allowPrivate: false });
  for (let i = 0; i < 50; i++) await fails(resolve('dead.example'), 'name does not resolve');
  assert.equal(asked.get('dead.example A'), 1);
  reply = ['10.0.0.1'];
  ms = 4999;
  await fails(resolve('dead.example'), 'name does not resolve');
  ms = 5000;
  for (let i = 0; i < 50; i++) await fails(resolve('dead.example'), 'address not allowed');
  assert.equal(asked.get('dead.example A'), 2);
  reply = ['8.8.8.8'];
  ms = 10_000;
  assert.deepEqual(await addresses(resolve('dead.example')), ['8.8.8.8']);
});

test('no more than a thousand failures are remembered, the newest', async () => {
  const { resolve, asked } = await resolving(() => 'NXDOMAIN', { now: () => 0, limitMs: 5000 });
  for (let i = 0; i <= 1000; i++) await fails(resolve(`dead-${i}.example`), 'name does not resolve');
  for (const i of [1000, 1, 0]) await fails(resolve(`dead-${i}.example`), 'name does not resolve');
  assert.equal(asked.get('dead-1000.example A'), 1);
  assert.equal(asked.get('dead-1.example A'), 1);
  assert.equal(asked.get('dead-0.example A'), 2);
});

test('a bounded number of look-ups is under way, and the others have their turn', async () => {
  const order: string[] = [];
  const { resolve } = await resolving(
    (name) => {
      order.push(name);
      return name.startsWith('silent') ? 'silence' : ['192.0.2.1'];
    },
    { maxInFlight: 2, limitMs: 1000 },
  );
  const silent = ['silent-1.example', 'silent-2.example'].map((name) =>
    fails(resolve(name), 'name does not resolve').then(() => order.push('one has ended')),
  );
  assert.deepEqual(await addresses(resolve('last.example')), ['192.0.2.1']);
  await Promise.all(silent);
  assert.ok(order.indexOf('last.example') > order.indexOf('one has ended'), order.join(', '));
});

test('a question or an answer that is lost is asked for again', async () => {
  const { resolve, asked } = await resolving((_, __, nth) => (nth === 1 ? 'silence' : ['192.0.2.1']), {
    limitMs: 6000,
  });
  assert.deepEqual(await addresses(resolve('a.example')), ['192.0.2.1']);
  assert.equal(asked.get('a.example A'), 2);
});

test('a name server that is silent about one family, or fails, does not hide the other', async () => {
  for (const bad of ['silence', 'SERVFAIL', 'NXDOMAIN'] as const) {
    const { resolve } = await resolving((_, type) => (type === 'A' ? ['192.0.2.1'] : bad), {
      limitMs: 1000,
    });
    assert.deepEqual(await addresses(resolve('a.example')), ['192.0.2.1']);
  }
});

test('while names are silent, other names resolve and a database is connected to by its name', async () => {
  const { resolve } = await resolving((name) => (name.startsWith('silent') ? 'silence' : ['192.0.2.1']), {
    limitMs: 5000,
  });
  let ended = 0;
  const silent = Array.from({ length: 50 }, (_, i) =>
    fails(resolve(`silent-${i}.example`), 'name does not resolve').finally(() => ended++),
  );
  const url = new URL(databaseUrl('postgres'));
  url.hostname = 'localhost';
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }]);
  await client.end();
  for (let i = 0; i < 20; i++) assert.deepEqual(await addresses(resolve(`a-${i}.example`)), ['192.0.2.1']);
  assert.equal(ended, 0);
  await Promise.all(silent);
});

test('nobody is asked for localhost', async () => {
  const { resolve, asked } = await resolving(() => ['192.0.2.1']);
  for (const name of ['localhost', 'a.localhost', 'b.a.localhost.', 'LOCALHOST']) {
    assert.deepEqual(await addresses(resolve(name)), ['127.0.0.1', '::1'], name);
  }
  assert.equal(asked.size, 0);
  assert.deepEqual(await addresses(resolve('notlocalhost')), ['192.0.2.1']);
});

test('names of the hosts file are known, also when it has changed, and are checked like others', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-hosts-'));
  closing.push(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'hosts');
  const hosts = hostsFile(path);
  const { resolve, asked } = await resolving(() => ['192.0.2.1'], { hosts });
  assert.deepEqual(await addresses(resolve('receiver')), ['192.0.2.1']);
  writeFileSync(
    path,
    '# names\n\n10.0.0.7\tReceiver receiver.internal # a container\n10.0.0.8 other\nfd00::7 receiver\n',
  );
  assert.deepEqual(await addresses(resolve('receiver')), ['10.0.0.7', 'fd00::7']);
  assert.deepEqual(await addresses(resolve('receiver.internal')), ['10.0.0.7']);
  assert.equal(asked.get('receiver A'), 1);
  const careful = createResolver({ allowPrivate: false, limitMs: AMPLE_MS, hosts });
  await fails(careful('receiver'), 'address not allowed');
  writeFileSync(path, '10.0.0.9 receiver\nnonsense other');
  utimesSync(path, 1, 1);
  assert.deepEqual(await addresses(resolve('receiver')), ['10.0.0.9']);
  assert.deepEqual(await addresses(resolve('other')), ['192.0.2.1']);
  rmSync(path);
  assert.deepEqual(await addresses(resolve('receiver')), ['192.0.2.1']);
});
