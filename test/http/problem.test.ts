import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { type Db, DbError } from '../../src/db.ts';
import type { Deps } from '../../src/deps.ts';
import { problems } from '../../src/http/problem.ts';
import { recordingLog, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const failing = (error: unknown): Db => ({ run: () => Promise.reject(error) });

async function list(own: Partial<Deps>) {
  const log = recordingLog();
  const response = await app.request('/api/v1/users', { headers: headers() }, testDeps({ log, ...own }));
  const text = await response.text();
  const failures = log.lines.filter(({ level }) => level === 'error');
  return { response, text, problem: JSON.parse(text) as Record<string, unknown>, failures, lines: log.lines };
}

describe('a failure', () => {
  test('that nobody foresaw is a 500 that says nothing of its cause, logged once with all that is known', async () => {
    const error = new TypeError('the secret cause', { cause: new Error('and its cause') });
    for (const thrown of [error, new DbError('failed', 'the secret cause', { sqlState: '42703' })]) {
      const { response, text, problem, failures, lines } = await list({ db: failing(thrown) });
      assert.equal(response.status, 500);
      assert.equal(response.headers.get('content-type'), 'application/problem+json');
      assert.equal(response.headers.get('cache-control'), 'no-store');
      assert.doesNotMatch(text, /secret|TypeError|42703|\.ts/);
      assert.deepEqual(Object.keys(problem), ['type', 'title', 'status', 'detail', 'instance', 'requestId']);
      assert.equal(failures.length, 1);
      assert.equal(failures[0]?.fields.error, thrown);
      assert.equal(failures[0]?.fields.requestId, problem.requestId);
      assert.equal(lines.filter(({ msg }) => msg === 'request').length, 1);
    }
  });

  test('of a database that is away is a 503 that says when to come again', async () => {
    const { response, problem, failures } = await list({ db: failing(new DbError('unavailable', 'ECONNREFUSED')) });
    assert.equal(response.status, 503);
    assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
    assert.match(problem.type as string, /\/problems\/unavailable$/);
    assert.equal(failures.length, 1);
  });

  test('of the database to be ready is a 503, and nothing is ready while stopping', async () => {
    for (const own of [{}, { draining: () => true }]) {
      const response = await app.request('/ready', {}, testDeps(own));
      assert.equal(response.status, 503);
      assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
    }
    assert.equal((await app.request('/health', {}, testDeps({ draining: () => true }))).status, 200);
  });

  test('of a statement that the server ended by itself is a 504', async () => {
    const { response } = await list({
      db: failing(new DbError('canceled', 'statement timeout', { sqlState: '57014' })),
    });
    assert.equal(response.status, 504);
  });

  test('to verify a token is no reason to let anyone in', async () => {
    const { response, failures } = await list({ verifier: () => Promise.reject(new Error('broken')) });
    assert.equal(response.status, 500);
    assert.equal(failures.length, 1);
  });
});

test('every kind of problem has a page that names it and says what to do', async () => {
  for (const [name, { title, status, remedy }] of Object.entries(problems)) {
    const response = await app.request(`/problems/${name}`, {}, testDeps());
    assert.equal(response.status, 200);
    const page = await response.text();
    for (const text of [title, String(status), `/problems/${name}`]) assert.ok(page.includes(text), `${name}: ${text}`);
    assert.ok(remedy.length > 20);
  }
});
