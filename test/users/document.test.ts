import assert from 'node:assert/strict';
import { test } from 'node:test';
import { app } from '../../src/app.ts';
import { testDeps } from '../support/deps.ts';
import { describedBy } from '../support/described.ts';

test('the description says what the webhooks of users carry', async () => {
  const document = JSON.parse(await (await app.request('/openapi.json', {}, testDeps())).text());
  const description = describedBy(document);
  for (const type of ['user.created', 'user.updated', 'user.deleted']) {
    const { schema } = document.webhooks[type].post.requestBody.content['application/json'];
    const [data] = document.components.schemas.User.examples;
    const event = { type, timestamp: '2026-11-22T10:00:00.000Z', data };
    assert.ok(description.accepts(schema, event));
    assert.ok(!description.accepts(schema, { ...event, data: {} }));
  }
});
