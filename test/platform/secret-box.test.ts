import assert from 'node:assert/strict';
import { createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createSecretBox } from '../../src/platform/secret-box.ts';

const oldKey = randomBytes(32).toString('base64');
const newKey = randomBytes(32).toString('base64');
const secret = 'whsec_c2VjcmV0 ü';

test('opens what it sealed, and seals nothing twice alike', async () => {
  const box = createSecretBox(newKey);
  const [one, two] = [await box.seal(secret), await box.seal(secret)];
  assert.notEqual(one, two);
  assert.match(one, /^v1\.[0-9a-f]{8}\.[\w-]{16}\.[\w-]+$/);
  for (const sealed of [one, two, one]) assert.equal(await box.open(sealed), secret);
  assert.equal(await createSecretBox(newKey).open(one), secret);
});

test('is AES-256-GCM, as node:crypto knows it', async () => {
  const sealed = await createSecretBox(newKey).seal(secret);
  const [version, id, nonce = '', text = ''] = sealed.split('.');
  const raw = Buffer.from(newKey, 'base64');
  assert.equal(id, createHash('sha256').update(raw).digest('hex').slice(0, 8));
  const bytes = Buffer.from(text, 'base64url');
  const decipher = createDecipheriv('aes-256-gcm', raw, Buffer.from(nonce, 'base64url'));
  decipher.setAAD(Buffer.from(`${version}.${id}`)).setAuthTag(bytes.subarray(-16));
  assert.equal(Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]).toString(), secret);
});

test('a rotated key: the old one still opens, the new one seals', async () => {
  const before = await createSecretBox(oldKey).seal(secret);
  const box = createSecretBox(newKey, [oldKey]);
  assert.equal(await box.open(before), secret);
  const after = await box.seal(secret);
  assert.equal(await createSecretBox(newKey).open(after), secret);
  await assert.rejects(createSecretBox(oldKey).open(after), /an unknown key/);
  assert.deepEqual(await box.keyIds(), [after.split('.')[1], before.split('.')[1]]);
});

test('the key itself among the old ones does no harm', async () => {
  const box = createSecretBox(newKey, [newKey, oldKey]);
  assert.equal(await box.open(await box.seal(secret)), secret);
  assert.equal(await createSecretBox(newKey).open(await box.seal(secret)), secret);
});

test('what was altered does not open, not even after the intact text did', async () => {
  const box = createSecretBox(newKey, [oldKey]);
  const sealed = await box.seal(secret);
  await box.open(sealed);
  const parts = sealed.split('.');
  const flipped = (at: number) =>
    parts.map((part, i) => (i === at ? (part[0] === 'A' ? 'B' : 'A') + part.slice(1) : part)).join('.');
  const oldId = (await createSecretBox(oldKey).seal('')).split('.')[1] as string;
  const altered: [text: string, reason: RegExp][] = [
    [flipped(2), /altered/],
    [flipped(3), /altered/],
    [parts.with(1, oldId).join('.'), /altered/],
    [parts.with(3, '').join('.'), /altered/],
    [parts.with(2, '').join('.'), /altered/],
    [parts.with(3, '!').join('.'), /altered/],
    [parts.with(1, '00000000').join('.'), /unknown key/],
    [parts.with(0, 'v2').join('.'), /known version/],
    [`${sealed}.x`, /known version/],
    ['', /known version/],
    [secret, /known version/],
  ];
  for (const [text, reason] of altered) {
    await assert.rejects(
      box.open(text),
      (error: Error) => reason.test(error.message) && !error.message.includes(secret),
      text,
    );
  }
});

test('refuses a key of another length', () => {
  for (const key of [randomBytes(16).toString('base64'), '', 'not base64 at all!']) {
    assert.throws(() => createSecretBox(key));
    assert.throws(() => createSecretBox(newKey, [key]));
  }
});
