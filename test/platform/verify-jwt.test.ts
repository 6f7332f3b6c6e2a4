import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { exportJWK, type JWK, type JWTPayload, SignJWT } from 'jose';
import type { Verifier } from '../../src/deps.ts';
import { AppError, type ErrorCode } from '../../src/errors.ts';
import { createVerifier, keySetVerifier, secretVerifier } from '../../src/platform/verify-jwt.ts';
import { recordingLog, SECRET, silent } from '../support/deps.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;

type Signer = { alg: string; kid: string; privateKey: KeyObject; publicKey: KeyObject; jwk: JWK };

async function signer(alg: string, kid: string, modulusLength = 2048): Promise<Signer> {
  const { privateKey, publicKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength })
      : alg === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
  return { alg, kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

const rsa = await signer('RS256', 'rsa');
const ec = await signer('ES256', 'ec');
const ed = await signer('EdDSA', 'ed');
const rotated = await signer('ES256', 'rotated');

/** Returns a token that is valid for an hour from `at`; no two are equal, so that none is already cached. */
function tokenOf(by: Signer, at: number, claims: JWTPayload = {}, header: { kid?: string } = { kid: by.kid }) {
  const payload = { sub: 'alice', scope: 'webhooks:read', exp: at / 1000 + 3600, jti: crypto.randomUUID(), ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg: by.alg, ...header }).sign(by.privateKey);
}

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** A key server whose answer a test may change; `hits` counts the requests. */
async function keyServer(answer: RequestListener) {
  const state = { url: '', hits: 0, answer, server: undefined as unknown as Server };
  state.server = createServer((request, response) => {
    state.hits++;
    state.answer(request, response);
  });
  servers.push(state.server);
  await once(state.server.listen(0, '127.0.0.1'), 'listening');
  state.url = `http://127.0.0.1:${(state.server.address() as AddressInfo).port}/jwks.json`;
  return state;
}

const json =
  (body: unknown): RequestListener =>
  (_, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const keys = (...of: Signer[]) => json({ keys: of.map(({ jwk }) => jwk) });
const status =
  (code: number): RequestListener =>
  (_, response) =>
    response.writeHead(code).end();

/** Creates a verifier on a clock that moves only when told, and keeps the promises that it left in the background. */
async function setup(answer: RequestListener, options: Partial<Parameters<typeof keySetVerifier>[1]> = {}) {
  const server = await keyServer(answer);
  const log = recordingLog();
  const clock = { now: Date.now() };
  const background: Promise<void>[] = [];
  const verify = keySetVerifier(server.url, {
    log,
    now: () => clock.now,
    background: (work) => background.push(work),
    ...options,
  });
  const send = async (by: Signer, claims?: JWTPayload, header?: { kid?: string }) =>
    verify(await tokenOf(by, clock.now, claims, header));
  return { server, log, clock, background, verify, send };
}

function refused(result: ReturnType<Verifier>, code: ErrorCode, detail?: string): Promise<void> {
  return assert.rejects(Promise.resolve(result), (error) => {
    assert.ok(error instanceof AppError, String(error));
    assert.equal(error.code, code);
    if (code === 'unauthorized') assert.match(error.headers['WWW-Authenticate'] as string, /invalid_token/);
    else assert.match(error.headers['Retry-After'] as string, /^[1-9]\d*$/);
    if (detail) assert.equal(error.message, detail);
    return true;
  });
}

test('tokens signed with RS256, ES256 and EdDSA are accepted, and the keys fetched once for all of them', async () => {
  const { send, server } = await setup(keys(rsa, ec, ed));
  const all = await Promise.all([rsa, ec, ed].flatMap((by) => Array.from({ length: 20 }, () => send(by))));
  for (const { sub, scopes } of all) assert.deepEqual([sub, [...scopes]], ['alice', ['webhooks:read']]);
  assert.equal(server.hits, 1);
});

test('no other algorithm is accepted, whatever the key set offers, and none of them costs a fetch', async () => {
  const secret = { kty: 'oct', k: Buffer.from(SECRET).toString('base64url'), kid: 'secret', alg: 'HS256' };
  const { verify, server, clock } = await setup(json({ keys: [rsa.jwk, secret] }));
  const payload = { sub: 'alice', exp: clock.now / 1000 + 60 };
  const signed = (alg: string, key: Uint8Array | KeyObject, kid: string) =>
    new SignJWT(payload).setProtectedHeader({ alg, kid }).sign(key);
  const pem = Buffer.from(rsa.publicKey.export({ type: 'spki', format: 'pem' }));
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.`;
  for (const token of [
    none,
    await signed('HS256', pem, 'rsa'),
    await signed('HS256', Buffer.from(SECRET), 'secret'),
    await signed('PS256', rsa.privateKey, 'rsa'),
    await signed('RS512', rsa.privateKey, 'rsa'),
    'not.a.token',
    '',
  ]) {
    await refused(verify(token), 'unauthorized', 'the token is not valid');
  }
  assert.equal(server.hits, 0);
});

test('issuer, audience and times are checked, with 30 s of tolerance', async () => {
  const issuer = 'https://issuer.example';
  const { send, clock } = await setup(keys(ec), { issuer, audience: 'keelson' });
  const good = { iss: issuer, aud: ['other', 'keelson'] };
  const now = Math.floor(clock.now / 1000);
  for (const claims of [{}, { exp: now - 29 }, { nbf: now + 29 }, { iat: now + 29 }]) {
    await send(ec, { ...good, ...claims });
  }
  for (const claims of [{ iss: 'https://other.example' }, { aud: 'other' }, { nbf: now + 31 }, { sub: '' }]) {
    await refused(send(ec, { ...good, ...claims }), 'unauthorized');
  }
  await refused(send(ec, { ...good, exp: now - 30 }), 'unauthorized', 'the token has expired');
  await refused(send(ec, { aud: 'keelson' }), 'unauthorized');
  await refused(send(ec, { iss: issuer }), 'unauthorized');
});

test('a forged signature is refused', async () => {
  const { send } = await setup(keys(ec));
  await refused(send({ ...rotated, kid: 'ec' }), 'unauthorized', 'the token is not valid');
});

test('after a rotation the new key is accepted at once, for one fetch, by however many requests', async () => {
  const { send, server, clock } = await setup(keys(ec));
  await send(ec);
  server.answer = keys(ec, rotated);
  clock.now += 30 * SECOND;
  await Promise.all(Array.from({ length: 50 }, () => send(rotated)));
  assert.equal(server.hits, 2);
});

test('a clock that is set back does not keep a new key out', async () => {
  const { send, server, clock } = await setup(keys(ec));
  await send(ec);
  server.answer = keys(ec, rotated);
  clock.now -= 60 * MINUTE;
  await send(rotated);
  assert.equal(server.hits, 2);
});

test('unknown key ids cost one fetch in 30 s, and known keys go on', async () => {
  const { send, server, clock } = await setup(keys(ec));
  await send(ec);
  for (const expected of [1, 2, 3]) {
    const unknown = Array.from({ length: 50 }, (_, n) => send(rotated, {}, { kid: `made-up-${n}` }));
    await Promise.all(unknown.map((each) => refused(each, 'unauthorized', 'the token is signed with an unknown key')));
    await send(ec);
    assert.equal(server.hits, expected);
    clock.now += 30 * SECOND;
  }
});

test('a withdrawn key is refused once the set was fetched again', async () => {
  const { send, verify, server, clock, background } = await setup(keys(ec, rotated));
  const token = await tokenOf(rotated, clock.now);
  await verify(token);
  server.answer = keys(ec);
  clock.now += 10 * MINUTE;
  await send(ec);
  await Promise.all(background);
  await refused(verify(token), 'unauthorized', 'the token is signed with an unknown key');
});

test('a withdrawn key is refused at once by a service that had nothing to verify for long', async () => {
  const { send, server, clock } = await setup(keys(ec, rotated));
  await send(ec);
  server.answer = keys(ec);
  clock.now += 300 * MINUTE;
  await refused(send(rotated), 'unauthorized', 'the token is signed with an unknown key');
  assert.equal(server.hits, 2);
});

test('an aged set is fetched again in the background: no request waits for it', async () => {
  const { send, server, clock, background } = await setup(keys(ec));
  await send(ec);
  let answer = () => {};
  const asked = new Promise<void>((resolve) => {
    server.answer = (request, response) => {
      answer = () => keys(ec, rotated)(request, response);
      resolve();
    };
  });
  clock.now += 10 * MINUTE;
  await Promise.all(Array.from({ length: 20 }, () => send(ec)));
  await asked;
  answer();
  await Promise.all(background);
  await send(rotated);
  assert.deepEqual([server.hits, background.length], [2, 1]);
});

test('while the key server is down known keys keep working for days, and it is asked once in 30 s', async () => {
  const { send, server, clock, background, log } = await setup(keys(ec));
  await send(ec);
  server.answer = status(500);
  for (const hits of [2, 3, 4]) {
    clock.now += 24 * 60 * MINUTE;
    for (let n = 0; n < 10; n++) await send(ec);
    await Promise.all(background);
    assert.equal(server.hits, hits);
  }
  assert.deepEqual(
    log.lines.map(({ level, msg }) => [level, msg]),
    Array.from({ length: 3 }, () => ['warn', 'JWKS fetch failed']),
  );
  server.answer = keys(rotated);
  clock.now += 30 * SECOND;
  await send(rotated);
});

test('an unknown key id during an outage: 401 while the set is fresh, 503 once it is too old to tell', async () => {
  const { send, server, clock } = await setup(keys(ec));
  await send(ec);
  server.answer = status(503);
  clock.now += 9 * MINUTE;
  await refused(send(rotated), 'unauthorized');
  clock.now += MINUTE;
  await refused(send(rotated), 'unavailable');
  await send(ec);
});

test('with no keys yet and the key server unreachable it is 503, and well again a second after its return', async () => {
  const { server, ...closed } = await setup(keys(ec));
  const { port } = server.server.address() as AddressInfo;
  await new Promise((resolve) => server.server.close(resolve));
  await Promise.all(Array.from({ length: 20 }, () => refused(closed.send(ec), 'unavailable')));
  assert.equal(closed.log.lines.length, 1);
  await once(server.server.listen(port, '127.0.0.1'), 'listening');
  await refused(closed.send(ec), 'unavailable');
  closed.clock.now += SECOND;
  await closed.send(ec);
  assert.equal(server.hits, 1);
});

const padded = JSON.stringify({ keys: [ec.jwk], padding: 'x'.repeat(1024 * 1024) });
const badAnswers: Record<string, RequestListener> = {
  'an HTML page': (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Welcome</html>'),
  'an error': status(500),
  'not found': status(404),
  'nothing at all': status(204),
  'a redirect': (_, response) => response.writeHead(302, { location: '/elsewhere' }).end(),
  'more than 1 MB': (_, response) => response.end(padded),
  'an answer that breaks off': (_, response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('{"keys":[', () => response.destroy());
  },
  null: json(null),
  'a list': json([ec.jwk]),
  'keys that are no list': json({ keys: { 0: ec.jwk } }),
};

for (const [name, answer] of Object.entries(badAnswers)) {
  test(`a key server that answers with ${name}: 503 without keys, and known keys keep working`, async () => {
    const { send, server, clock, background } = await setup(answer);
    await refused(send(ec), 'unavailable');
    clock.now += SECOND;
    server.answer = keys(ec);
    await send(ec);
    server.answer = answer;
    clock.now += 10 * MINUTE;
    await send(ec);
    await Promise.all(background);
    await send(ec);
    assert.equal(server.hits, 3);
  });
}

test('a key server that takes 10 s: 503 after 3 s, for one fetch; with known keys nobody waits', async () => {
  const slow = await setup(() => {}, { now: Date.now });
  const aged = await setup(keys(ec));
  await aged.send(ec);
  aged.server.answer = () => {};
  aged.clock.now += 10 * MINUTE;
  const start = performance.now();
  const over: string[] = [];
  const refusals = Array.from({ length: 10 }, () =>
    refused(slow.send(ec), 'unavailable').then(() => over.push('refused')),
  );
  await Promise.all(Array.from({ length: 10 }, () => aged.send(ec)));
  assert.deepEqual(over, []);
  await Promise.all(refusals);
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds > 2.5, `${seconds} s`);
  assert.deepEqual([slow.server.hits, aged.server.hits], [1, 2]);
  await Promise.all(aged.background);
});

test('a fetch that vanished with its request, as on Workers, holds up nobody for good', async () => {
  const clock = { now: Date.now() };
  let fetches = 0;
  const verify = keySetVerifier('https://keys.example', {
    log: silent,
    now: () => clock.now,
    fetch: () =>
      ++fetches === 1 ? new Promise<Response>(() => {}) : Promise.resolve(Response.json({ keys: [ec.jwk] })),
  });
  void verify(await tokenOf(ec, clock.now));
  const waiting = verify(await tokenOf(ec, clock.now));
  clock.now += 4 * SECOND;
  await refused(waiting, 'unavailable');
  await verify(await tokenOf(ec, clock.now));
  assert.equal(fetches, 2);
});

test('a set of 1,000 keys, with members that nobody here can use, does its work', async () => {
  const many = Array.from({ length: 990 }, (_, n) => ({ ...rsa.jwk, kid: `old-${n}` }));
  const odd = [
    null,
    'a string',
    [],
    {},
    { kty: 'AKP', alg: 'ML-DSA-44', pub: 'AAAA', kid: 'ec' },
    { kty: 'OKP', crv: 'X25519', x: 'AAAA', kid: 'ed' },
    { kty: 'oct', k: 'AAAA', kid: 'ec' },
    { kty: 'RSA', kid: 'broken', alg: 'RS256' },
    { kty: 7 },
  ];
  const { send } = await setup(json({ keys: [...odd, ...many, ec.jwk, ed.jwk] }));
  await send(ec);
  await send(ed);
  await send({ ...rsa, kid: 'old-989' });
  await refused(send({ ...rsa, kid: 'broken' }), 'unauthorized', 'the token is not valid');
});

test('keys that are too weak, private or meant for encryption are not used', async () => {
  const weak = await signer('RS256', 'weak', 1024);
  const leaked = { ...(await exportJWK(rotated.privateKey)), kid: 'rotated', alg: 'ES256' };
  const { verify, send, clock } = await setup(json({ keys: [weak.jwk, leaked, { ...ec.jwk, use: 'enc' }] }));
  const input = [
    { alg: 'RS256', kid: 'weak' },
    { sub: 'alice', exp: clock.now / 1000 + 60 },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const forged = `${input}.${sign('sha256', Buffer.from(input), weak.privateKey).toString('base64url')}`;
  await refused(verify(forged), 'unauthorized');
  await refused(send(rotated), 'unauthorized');
  await refused(send(ec), 'unauthorized');
});

test('a token that names no key is accepted where one key alone fits', async () => {
  const alone = await setup(keys(ec, rsa));
  await alone.send(ec, {}, {});
  const several = await setup(keys(ec, rotated));
  await refused(several.send(ec, {}, {}), 'unauthorized');
});

async function hs256(claims: JWTPayload, secret = SECRET): Promise<string> {
  return new SignJWT({ sub: 'alice', ...claims }).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(secret));
}

test('with a shared secret only its HS256 tokens are accepted', async () => {
  const verify = createVerifier({ secret: SECRET, audience: 'keelson' }, silent);
  assert.equal((await verify(await hs256({ aud: 'keelson' }))).sub, 'alice');
  await refused(verify(await hs256({ aud: 'other' })), 'unauthorized');
  await refused(verify(await hs256({ aud: 'keelson' }, `${SECRET}!`)), 'unauthorized');
  await refused(verify(await tokenOf(rsa, Date.now(), { aud: 'keelson' })), 'unauthorized');
});

test('with a key-set URL its tokens are accepted, and HS256 is not', async () => {
  const server = await keyServer(keys(ec));
  const verify = createVerifier({ jwksUrl: server.url }, silent);
  assert.equal((await verify(await tokenOf(ec, Date.now()))).sub, 'alice');
  await refused(verify(await hs256({})), 'unauthorized');
});

test('a token that comes again is not verified again for a minute, and is refused once expired all the same', async (t) => {
  const checks = t.mock.method(crypto.subtle, 'verify').mock;
  const clock = { now: 1_900_000_000_000 };
  const verify: Verifier = secretVerifier(SECRET, {}, () => clock.now);
  const exp = clock.now / 1000 + 10;
  const [short, long] = [await hs256({ exp }), await hs256({ exp: exp + 3600 })];
  const principal = await verify(short);
  assert.equal(await verify(short), principal);
  await verify(long);
  assert.equal(checks.callCount(), 2);
  clock.now += 39_999;
  assert.equal(await verify(short), principal);
  clock.now += 1;
  await refused(verify(short), 'unauthorized', 'the token has expired');
  clock.now += 20 * SECOND;
  await verify(long);
  assert.equal(checks.callCount(), 4);
});

test('refused tokens are not remembered, and of good ones a thousand', async (t) => {
  const checks = t.mock.method(crypto.subtle, 'verify').mock;
  const verify = secretVerifier(SECRET, {});
  const first = await hs256({ jti: 'first' });
  const bad = `${first.slice(0, -4)}AAAA`;
  await verify(first);
  await refused(verify(bad), 'unauthorized');
  await refused(verify(bad), 'unauthorized');
  assert.equal(checks.callCount(), 3);
  for (let n = 0; n < 1000; n++) await verify(await hs256({ jti: String(n) }));
  await verify(first);
  assert.equal(checks.callCount(), 1004);
});
