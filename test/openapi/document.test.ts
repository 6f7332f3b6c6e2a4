import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as z from 'zod/mini';
import { app } from '../../src/app.ts';
import { documentOf } from '../../src/docs/document.ts';
import { operation } from '../../src/http/operation.ts';
import { problems } from '../../src/http/problem.ts';
import { testDeps } from '../support/deps.ts';
import { describedBy } from '../support/described.ts';

const response = await app.request('/openapi.json', {}, testDeps());
const document = JSON.parse(await response.text());
const description = describedBy(document);

describe('the description', () => {
  test('is OpenAPI 3.1, and the same each time it is asked for', async () => {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'application/json');
    assert.match(document.openapi, /^3\.1\./);
    assert.deepEqual(await (await app.request('/openapi.json', {}, testDeps())).json(), document);
  });

  test('has every route that the app has', () => {
    const assets = ['/assets/:name{[a-z0-9-]+\\.(?:css|js)}'];
    const served = app.routes
      .filter(({ method, path }) => method !== 'ALL' && !assets.includes(path))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
    const described = description.operations.map(({ method, path }) => `${method} ${path}`);
    assert.deepEqual([...new Set(served)].sort(), described.sort());
  });

  test('gives every operation a name, a summary, a tag, and the scope that it needs', () => {
    const ids = new Set<string>();
    for (const { method, path, scopes } of description.operations) {
      const { operationId, summary, tags, security } = document.paths[path][method.toLowerCase()];
      assert.match(operationId, /^[a-z][A-Za-z]+$/);
      assert.ok(!ids.has(operationId));
      ids.add(operationId);
      assert.ok(summary && tags.length === 1);
      assert.deepEqual(security, path.startsWith('/api/') ? [{ bearer: [] }] : []);
      assert.equal(scopes.length, path.startsWith('/api/') ? 1 : 0);
    }
  });

  test('has examples that are what their schemas ask for', () => {
    let count = 0;
    const checkAll = (name: string, schema: object, values: unknown[]) => {
      for (const value of values) {
        count++;
        assert.ok(description.accepts(schema, value), `${name}: ${JSON.stringify(value)}`);
      }
    };
    for (const [name, schema] of Object.entries<{ examples?: unknown[] }>(document.components.schemas)) {
      checkAll(name, schema, schema.examples ?? []);
    }
    for (const kind of ['headers', 'parameters']) {
      for (const [name, { schema, example }] of Object.entries<{ schema: object; example: unknown }>(
        document.components[kind],
      )) {
        checkAll(name, schema, [example]);
      }
    }
    for (const [name, { value }] of Object.entries<{ value: unknown }>(document.components.examples)) {
      checkAll(name, document.components.schemas.Problem, [value]);
    }
    assert.ok(count > 35, `${count}`);
  });

  test('has an example of every body that is taken or given', () => {
    for (const { method, path, body, responses } of description.operations) {
      const given = Object.values(responses).flatMap(({ content }) => content?.['application/json']?.schema ?? []);
      for (const schema of [body, ...given].map(description.resolve)) {
        if (!schema || !path.startsWith('/api/') || schema.properties.nextCursor) continue;
        assert.ok(schema.examples?.length > 0, `${method} ${path}: ${JSON.stringify(schema)}`);
      }
    }
  });

  test('keeps what a nullable member says of itself', () => {
    const { pausedUntil } = document.components.schemas.WebhookEndpointHealth.properties;
    assert.deepEqual(
      [pausedUntil.type, pausedUntil.description],
      [
        ['string', 'null'],
        'When an automatic pause ends. Null if the endpoint is not paused, or was paused by request.',
      ],
    );
  });

  test('knows the headers of its own document', () => {
    const { responses } = document.paths['/openapi.json'].get;
    for (const status of ['200', '304']) {
      assert.deepEqual(Object.keys(responses[status].headers), ['X-Request-Id', 'RateLimit-Policy', 'ETag']);
    }
    assert.ok(response.headers.has('ETag') && response.headers.has('RateLimit-Policy'));
  });

  test('knows every problem that an operation can be answered with', () => {
    const [described, all] = [Object.keys(document.components.examples), Object.keys(problems)];
    // A method that a path does not have is not an operation.
    assert.deepEqual(described.sort(), all.filter((code) => code !== 'method-not-allowed').sort());
  });

  test('says what webhooks carry', () => {
    const { schema } = document.webhooks['webhook.test'].post.requestBody.content['application/json'];
    const data = { endpointId: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f' };
    const event = { type: 'webhook.test', timestamp: '2026-11-22T10:00:00.000Z', data };
    assert.ok(description.accepts(schema, event));
    assert.ok(!description.accepts(schema, { ...event, data: {} }));
  });

  test('accepts null where a value may be null, an enum included', () => {
    const schema = () => z.object({ plan: z.nullable(z.enum(['free', 'pro'])), note: z.nullable(z.string()) });
    const answers = { 200: { description: 'Some', schema } };
    const handler = operation.open({ operationId: 'getSome', summary: '', description: '', answers, problems: [] });
    const own = documentOf([{ method: 'GET', path: '/some', handler }]) as typeof document;
    const accepted = own.paths['/some'].get.responses[200].content['application/json'].schema;
    for (const value of [
      { plan: null, note: null },
      { plan: 'pro', note: 'x' },
    ]) {
      assert.ok(description.accepts(accepted, value), JSON.stringify(value));
    }
    assert.ok(!description.accepts(accepted, { plan: 'other', note: null }));
  });
});
