import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { nodeSign } from '../../src/platform/sign-node.ts';

test('signatures are those of node:crypto, for keys and contents of any length', () => {
  const sign = nodeSign();
  const keys = [0, 1, 24, 63, 64, 65, 200].map((length) => new Uint8Array(randomBytes(length)));
  const contents = ['', 'a', 'Zoë 🦊 \u0000', 'é'.repeat(5000), 'x'.repeat(100_000), 'b'];
  for (const key of [...keys, ...keys]) {
    for (const content of contents) {
      assert.equal(sign(key, content), createHmac('sha256', key).update(content).digest('base64'));
    }
  }
});
