import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { newEndpoint } from '../conformance/target.ts';
import { testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

test('a body that neither Content-Length nor Transfer-Encoding announces, as in HTTP/2, is limited, too', async () => {
  const send = async (bytes: number) => {
    const body = new Blob([JSON.stringify({ ...newEndpoint(), description: 'x'.repeat(bytes) })]).stream();
    const init = { method: 'POST', headers: headers(), body, duplex: 'half' };
    return (await app.request('/api/v1/webhook-endpoints', init as RequestInit, testDeps())).status;
  };
  assert.equal(await send(testDeps().settings.bodyLimitBytes), 413);
  // Read in full, but a description has at most 500 characters.
  assert.equal(await send(501), 422);
});
