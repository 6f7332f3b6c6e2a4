import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpUrl, portOf } from '../../src/platform/listen.ts';

test('a URL says which port several processes share, also where it is the one that URLs leave out', () => {
  for (const host of ['0.0.0.0', '::1', 'localhost']) {
    for (const port of [80, 443, 8080]) assert.equal(portOf(httpUrl(host, port)), port);
  }
});
