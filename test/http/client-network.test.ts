import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { networkOf } from '../../src/http/client-network.ts';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';
import { noDb, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

/** Spellings of one client's address, by the key under which it is counted. */
const SPELLINGS: Record<string, string[]> = {
  '192.0.2.7': [
    '192.0.2.7',
    '192.0.2.7:5678',
    '::ffff:192.0.2.7',
    '::FFFF:c000:207',
    '[::ffff:192.0.2.7]:443',
    '0:0:0:0:0:ffff:192.0.2.7',
  ],
  '2001:db8:0:1::/64': [
    '2001:db8:0:1::1',
    '2001:DB8::1:0:0:0:2',
    '2001:0db8:0000:0001:ffff:ffff:ffff:ffff',
    '[2001:db8:0:1::3]',
    '[2001:db8:0:1::4]:443',
    '2001:db8:0:1::5%eth0',
    '[2001:db8:0:1::6%25eth0]:443',
  ],
  '2001:db8:0:2::/64': ['2001:db8:0:2::1'],
  'fe80:0:0:0::/64': ['fe80::1%eth0', 'fe80::2%1'],
  '0:0:0:0::/64': ['::1'],
  unknown: [
    '',
    'unknown',
    '_hidden',
    'a.b.c.d',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.4:port',
    '2001:db8',
    '[2001:db8::1',
    '[]',
    ':::',
    '/tmp/socket',
    `${'1'.repeat(200)}::`,
    '1.2.3.4, 5.6.7.8',
  ],
};

describe('a client that nobody knows yet is counted by', () => {
  test('its IPv4 address or its IPv6 network of 64 bits, however that is written, without port and zone', () => {
    for (const [network, spellings] of Object.entries(SPELLINGS)) {
      for (const spelling of spellings) assert.equal(networkOf(spelling), network, spelling);
    }
  });

  test('one count, whatever it writes in the place of an address', async () => {
    for (const [network, spellings] of Object.entries(SPELLINGS)) {
      const limiter = memoryLimiter(3, 60);
      const statuses: number[] = [];
      for (const clientAddress of [...spellings, ...spellings, ...spellings, ...spellings]) {
        const init = { headers: { Authorization: 'Bearer wrong' } };
        statuses.push(
          (await app.request('/api/v1/webhook-endpoints', init, testDeps({ limiter, clientAddress }))).status,
        );
      }
      assert.deepEqual(statuses.slice(0, 4), [401, 401, 401, 429], network);
      assert.ok(statuses.slice(3).every((status) => status === 429));
    }
  });

  test('failures alone: whoever has a good token is counted by its subject', async () => {
    const keys: string[] = [];
    const limiter = { ...memoryLimiter(3, 60), take: async (key: string) => ({ allowed: keys.push(key) < 9 }) };
    const deps = testDeps({ limiter, clientAddress: '2001:db8::1', db: { ...noDb, run: async () => [] } });
    for (const init of [{ headers: headers() }, {}]) await app.request('/api/v1/webhook-endpoints', init, deps);
    assert.deepEqual(keys, ['sub:tester', 'address:2001:db8:0:0::/64']);
  });
});
