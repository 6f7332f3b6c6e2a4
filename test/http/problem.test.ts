import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Hono } from 'hono';
import { app } from '../../src/app.ts';
import { type Db, DbError, toDbError } from '../../src/db.ts';
import type { Deps } from '../../src/deps.ts';
import type { Env } from '../../src/http/context.ts';
import { onError, problems } from '../../src/http/problem.ts';
import { problemTexts } from '../../src/http/problem-texts.ts';
import { noDb, recordingLog, testDeps } from '../support/deps.ts';
import { headers } from '../support/tokens.ts';

const failing = (error: unknown): Db => ({ ...noDb, run: () => Promise.reject(error) });

async function list(own: Partial<Deps>) {
  const log = recordingLog();
  const response = await app.request('/api/v1/webhook-endpoints', { headers: headers() }, testDeps({ log, ...own }));
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

  test('of a database that says nothing at all to be ready is a 503 too, before the deadline', async () => {
    const response = await app.request('/ready', {}, testDeps({ db: { ...noDb, run: () => new Promise(() => {}) } }));
    assert.equal(response.status, 503);
  });

  test('of the question whether it is ready is a 503, whatever it is, and logged where it is one', async () => {
    const errors: [error: Error, logged: boolean][] = [
      [new DbError('failed', 'permission denied for table webhook_endpoints', { sqlState: '42501' }), true],
      [new DbError('canceled', 'canceling statement due to user request', { sqlState: '57014' }), false],
      [new DbError('unavailable', 'ECONNREFUSED'), true],
      [new TypeError('a bug'), true],
    ];
    for (const [error, logged] of errors) {
      const log = recordingLog();
      const response = await app.request('/ready', {}, testDeps({ db: failing(error), log }));
      assert.equal(response.status, 503);
      assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
      assert.deepEqual(
        log.lines.filter(({ level }) => level === 'error').map(({ fields }) => fields.error),
        logged ? [error] : [],
      );
    }
  });

  test('to open the oldest secret has others looked for until the keys have opened one, and no longer', async () => {
    const known: unknown[] = [];
    const db = {
      run: async (_: unknown, values: { keysOpen: boolean }) => {
        known.push(values.keysOpen);
        return [{ schemaIsCurrent: true, writable: true, keysOpen: known.length > 1, unopened: 1 }];
      },
    } as unknown as Db;
    const deps = testDeps({ db });
    const statuses = [];
    for (let i = 0; i < 4; i++) statuses.push((await app.request('/ready', {}, deps)).status);
    assert.deepEqual(statuses, [503, 200, 200, 200]);
    assert.deepEqual(known, [false, false, true, true]);
  });

  test('of the disk is unavailable where it ended the statement, and unknown where it ended more', () => {
    for (const [code, severity, failure] of [
      ['58030', 'ERROR', 'unavailable'],
      ['58030', 'PANIC', 'unknown'],
      ['53100', 'ERROR', 'unavailable'],
      ['53100', 'PANIC', 'unknown'],
      ['53300', 'FATAL', 'unavailable'],
      ['57P01', 'FATAL', 'unavailable'],
    ]) {
      assert.equal(toDbError({ code, severity, message: 'x' }).failure, failure, `${severity} ${code}`);
    }
  });

  test('of a statement that the server ended by itself is a 504', async () => {
    const { response } = await list({
      db: failing(new DbError('canceled', 'statement timeout', { sqlState: '57014' })),
    });
    assert.equal(response.status, 504);
  });

  test('of a constraint says what its resource declares for it, about the member that is wrong', async () => {
    const invalid = { code: 'validation-failed', detail: 'Some values are invalid.' } as const;
    const constraints = {
      teams_name_key: { detail: 'Another team has this name.', pointer: '/name' },
      teams_price_check: { ...invalid, pointer: '/price', error: 'must not be negative' },
      teams_dates_check: { detail: 'A team cannot end before it begins.' },
    };
    const teams = new Hono<Env>();
    teams.onError(onError(() => constraints));
    teams.post('/:constraint', (c) => {
      throw new DbError('failed', 'violated', { sqlState: '23514', constraint: c.req.param('constraint') });
    });
    const post = async (constraint: string) => {
      const response = await teams.request(`/${constraint}`, { method: 'POST' }, testDeps());
      const { detail, errors } = (await response.json()) as { detail: string; errors: unknown };
      return [response.status, detail, errors];
    };
    assert.deepEqual(await Promise.all([...Object.keys(constraints), 'of_nobody'].map(post)), [
      [409, 'Another team has this name.', [{ detail: 'is already taken', pointer: '/name' }]],
      [422, 'Some values are invalid.', [{ detail: 'must not be negative', pointer: '/price' }]],
      [409, 'A team cannot end before it begins.', undefined],
      [500, 'An internal error occurred.', undefined],
    ]);
  });

  test('to verify a token is no reason to let anyone in', async () => {
    const { response, failures } = await list({ verifier: () => Promise.reject(new Error('broken')) });
    assert.equal(response.status, 500);
    assert.equal(failures.length, 1);
  });
});

test('every kind of problem has a page that names it and says what to do', async () => {
  for (const [name, { title, status }] of Object.entries(problems)) {
    const response = await app.request(`/problems/${name}`, {}, testDeps());
    assert.equal(response.status, 200);
    const page = await response.text();
    for (const text of [title, String(status), `/problems/${name}`]) assert.ok(page.includes(text), `${name}: ${text}`);
    assert.ok(problemTexts[name as keyof typeof problems].remedy.length > 20);
  }
});

test('the page of an unknown outcome says what to do about each method, with a key and without', async () => {
  const page = await (await app.request('/problems/outcome-unknown', {}, testDeps())).text();
  for (const advice of [
    /POST with an Idempotency-Key: retry with the same key/,
    /POST without a key: wait .* fetch the resource or its list/,
    /PUT: retry.* If-Match .* 412/,
    /DELETE: retry.* 404/,
  ]) {
    assert.match(page, advice);
  }
});

describe('what Postgres says', () => {
  /** By SQLSTATE: the response to a write, and to a read if that differs. */
  const answers: Record<string, [why: string, ofWrite: string, ofRead?: string]> = {
    '25006': ['it is read-only', '503 unavailable'],
    '28P01': ['the password is another', '503 unavailable'],
    '3D000': ['the database is gone', '503 unavailable'],
    '40001': ['it could not be serialized', '503 unavailable'],
    '40P01': ['it was a deadlock', '503 unavailable'],
    '53100': ['the disk is full', '503 unavailable'],
    '53200': ['memory is short', '503 unavailable'],
    '53300': ['there are too many connections', '503 unavailable'],
    '55P03': ['the lock is not waited for', '503 unavailable'],
    '57P01': ['an administrator ended the session', '503 unavailable'],
    '57P03': ['it is starting up', '503 unavailable'],
    '58030': ['the disk cannot be read', '503 unavailable'],
    '57014': ['the statement was canceled', '504 timeout'],
    '25P04': ['the transaction took too long', '504 timeout'],
    '08006': ['a connection broke behind it', '504 outcome-unknown', '503 unavailable'],
    '40003': ['the commit was not confirmed', '504 outcome-unknown', '503 unavailable'],
    '57P02': ['another session crashed it', '504 outcome-unknown', '503 unavailable'],
    '42P01': ['a table is missing', '500 internal'],
    XX000: ['it has a defect', '500 internal'],
  };

  async function answer(method: string, code: string): Promise<string> {
    const db = failing(toDbError(Object.assign(new Error('said so'), { code, severity: 'ERROR' })));
    const body = JSON.stringify({ url: 'https://example.com/', events: ['nothing.ever'] });
    const init = { method, headers: headers(), ...(method === 'POST' && { body }) };
    const response = await app.request('/api/v1/webhook-endpoints', init, testDeps({ db }));
    assert.equal(response.headers.has('retry-after'), response.status === 503);
    return `${response.status} ${((await response.json()) as { type: string }).type.split('/').at(-1)}`;
  }

  for (const [code, [why, ofWrite, ofRead = ofWrite]] of Object.entries(answers)) {
    test(`is told truly: ${why} (${code}) is ${ofWrite} to a write and ${ofRead} to a read`, async () => {
      assert.equal(await answer('POST', code), ofWrite);
      assert.equal(await answer('GET', code), ofRead);
    });
  }
});
