import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import type { Deps } from '../../src/deps.ts';
import { testDeps } from '../support/deps.ts';

const OPENED = { Host: '127.0.0.1:8787', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' };

/** The token on the page that a client gets. */
async function filledIn(headers: Record<string, string>, own: Partial<Deps> = {}): Promise<string | undefined> {
  const developmentToken = async () => 'the.development.token';
  const deps = testDeps({ developmentToken, clientAddress: '127.0.0.1', ...own });
  const response = await app.request('/docs', { headers }, deps);
  assert.equal(response.headers.get('cache-control'), 'no-store');
  return /data-token="([^"]*)"/.exec(await response.text())?.[1];
}

test('a development token is filled in where a browser on the same machine opens /docs under a loopback name', async () => {
  for (const host of ['127.0.0.1:8787', 'localhost:8787', 'localhost', '[::1]:8787']) {
    for (const clientAddress of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
      assert.equal(await filledIn({ ...OPENED, Host: host }, { clientAddress }), 'the.development.token');
    }
  }
});

test('it is never filled in for another machine, through a proxy, for a script, or in production', async () => {
  for (const clientAddress of [
    '192.0.2.1',
    '::2',
    '10.0.0.1',
    'unknown',
    '127.0.0.1.example.com',
    '127.0.0.1, 192.0.2.1',
  ]) {
    assert.equal(await filledIn(OPENED, { clientAddress }), '', clientAddress);
  }
  // The owner of a name can make it resolve to 127.0.0.1.
  for (const host of ['rebound.example.com', 'localhost.example.com', '127.0.0.1.example.com', '192.0.2.1:8787', '']) {
    assert.equal(await filledIn({ ...OPENED, Host: host }), '', host);
  }
  for (const proxied of [
    { 'X-Forwarded-For': '127.0.0.1' },
    { Forwarded: 'for=127.0.0.1' },
    { Via: '1.1 proxy' },
    { 'X-Real-IP': '127.0.0.1' },
    { 'X-Forwarded-Host': 'dev.example.com' },
  ]) {
    assert.equal(await filledIn({ ...OPENED, ...proxied }), '');
  }
  for (const scripted of [
    { 'Sec-Fetch-Mode': 'cors' },
    { 'Sec-Fetch-Dest': 'empty' },
    { 'Sec-Fetch-Dest': 'iframe' },
  ]) {
    assert.equal(await filledIn({ ...OPENED, ...scripted }), '');
  }
  assert.equal(await filledIn({ Host: OPENED.Host }), '');
  assert.equal(await filledIn(OPENED, { developmentToken: undefined }), '');
});
