import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { app } from '../../src/app.ts';
import { documentOf } from '../../src/docs/document.ts';
import { ASSETS } from '../../src/entry/assets.ts';
import { untilReady } from '../support/service.ts';
import { answerOf, assertProblem, caller, newEndpoint, type Target } from './target.ts';

const HOOKS = '/api/v1/webhook-endpoints';

export function system(target: () => Target): void {
  const get = async (path: string, headers: Record<string, string> = {}) =>
    answerOf(await fetch(new URL(path, target().url), { headers }));

  describe('health and readiness', () => {
    test('the service lives and is ready, and says so to anyone', async () => {
      const health = await get('/health');
      assert.equal(health.status, 200);
      assert.deepEqual(health.json, { status: 'ok' });
      await untilReady(target().url);
    });
  });

  describe('every answer', () => {
    test('carries the request id that the client sent, or a new one', async () => {
      for (const good of ['my-id_1=', 'req.12:3']) {
        assert.equal((await get('/health', { 'X-Request-Id': good })).headers.get('x-request-id'), good);
      }
      for (const bad of [
        'x'.repeat(10_000),
        'with space',
        'a@b',
        '<script>',
        `whsec_${'M'.repeat(32)}`,
        'eyJhbGciOiJIUzI1NiJ9',
      ]) {
        const id = (await get('/health', { 'X-Request-Id': bad })).headers.get('x-request-id') ?? '';
        assert.match(id, /^[\w\-=]{1,255}$/);
        assert.notEqual(id, bad);
      }
      const one = (await get('/health')).headers.get('x-request-id');
      assert.notEqual(one, (await get('/health')).headers.get('x-request-id'));
    });

    test('carries the policy of rate limits, and what is left where it is known', async () => {
      for (const path of ['/health', '/ready', '/openapi.json', '/problems/conflict', '/nope', '/console', HOOKS]) {
        assert.match((await get(path)).headers.get('ratelimit-policy') ?? '', /^"default";q=\d+;w=\d+$/, path);
      }
      const known = (await caller(target)('GET', `${HOOKS}?limit=1`)).headers.has('ratelimit');
      const refused = await get(HOOKS);
      assert.deepEqual([refused.status, refused.headers.has('ratelimit')], [401, known]);
    });

    test('carries security headers, and no banner', async () => {
      const call = caller(target);
      for (const answer of [await get('/health'), await get('/nope'), await call('GET', `${HOOKS}?limit=1`)]) {
        assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
        assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/);
        assert.ok(answer.headers.get('referrer-policy'));
        assert.ok(answer.headers.get('strict-transport-security'));
        assert.equal(answer.headers.get('server'), null);
        assert.equal(answer.headers.get('x-powered-by'), null);
        assert.equal(answer.headers.get('access-control-allow-origin'), null);
      }
    });

    test('is JSON from the API whatever the client would rather have', async () => {
      const call = caller(target);
      const made = await call('POST', HOOKS, { body: newEndpoint(), headers: { Accept: 'text/html' } });
      assert.match(made.headers.get('content-type') ?? '', /^application\/json/);
      assertProblem(await call('GET', '/api/v1/nope', { headers: { Accept: 'text/html' } }), 404, 'not-found');
    });

    test('to HEAD has the headers of GET and no body', async () => {
      const call = caller(target);
      const head = await call('HEAD', `${HOOKS}?limit=1`);
      assert.equal(head.status, 200);
      assert.equal(head.text, '');
      assert.match(head.headers.get('content-type') ?? '', /^application\/json/);
    });
  });

  describe('the description', () => {
    test('the console asks for a token, and is a page with a policy of its own', async () => {
      const asked = await fetch(new URL('/console', target().url), { redirect: 'manual' });
      assert.deepEqual([asked.status, asked.headers.get('location')], [303, '/console/sign-in?next=%2Fconsole']);
      const page = await fetch(new URL('/console/sign-in', target().url));
      assert.equal(page.status, 200);
      assert.equal(page.headers.get('content-type'), 'text/html; charset=UTF-8');
      assert.match(
        page.headers.get('content-security-policy') ?? '',
        /^default-src 'none'; script-src 'self'; style-src 'self';/,
      );
      const text = await page.text();
      assert.match(text, /^<!doctype html>.*<label for="token">Bearer token<\/label>/);
      const linked = Array.from(text.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g), ([, path]) => path as string);
      assert.deepEqual(linked, ['/assets/console.css', '/assets/console.js']);
      for (const path of linked) assert.equal((await get(path)).status, 200);
    });

    test('is served to anyone, and so is a page to read it, with its script and style', async () => {
      const document = await get('/openapi.json');
      assert.equal(document.status, 200);
      assert.match(document.json.openapi, /^3\.1\./);
      assert.equal(document.text, JSON.stringify(documentOf(app.routes)));
      assert.equal(document.headers.get('content-type'), 'application/json');
      const again = await get('/openapi.json', { 'If-None-Match': document.headers.get('etag') ?? '' });
      assert.equal(again.status, 304);
      const page = await get('/docs');
      assert.equal(page.status, 200);
      assert.match(
        page.headers.get('content-security-policy') ?? '',
        /default-src 'none'; script-src 'self'; style-src 'self'/,
      );
      assert.doesNotMatch(page.text, /<style|style=|<script>|https?:/);
      const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path as string);
      assert.ok(assets.includes('/assets/docs.js') && assets.includes('/assets/swagger-ui.js'), `${assets}`);
      for (const path of assets.filter((asset) => asset.startsWith('/'))) assert.equal((await get(path)).status, 200);
    });
  });

  describe('static files', () => {
    const files = Object.keys(ASSETS).filter((name) => /\.(css|js)$/.test(name));

    test('are served to anyone with their type and a tag, and not again to who has them', async () => {
      for (const name of files) {
        const file = await get(`/assets/${name}`, { 'X-Request-Id': 'mine' });
        assert.equal(file.status, 200, name);
        assert.equal(file.text, String(await ASSETS[name]?.()));
        const type = name.endsWith('.css') ? 'text/css; charset=utf-8' : 'text/javascript; charset=utf-8';
        assert.equal(file.headers.get('content-type'), type);
        assert.equal(file.headers.get('cache-control'), 'no-cache');
        assert.equal(file.headers.get('x-content-type-options'), 'nosniff');
        assert.equal(file.headers.get('x-request-id'), 'mine');
        const etag = file.headers.get('etag') ?? '';
        assert.match(etag, /^(W\/)?"[^"]+"$/);
        for (const known of [etag, `"other", ${etag}`, '*']) {
          const again = await get(`/assets/${name}`, { 'If-None-Match': known });
          assert.deepEqual([again.status, again.text, again.headers.get('etag')], [304, '', etag]);
        }
        assert.equal((await get(`/assets/${name}`, { 'If-None-Match': '"other"' })).status, 200);
        const head = await fetch(new URL(`/assets/${name}`, target().url), { method: 'HEAD' });
        assert.deepEqual([head.status, head.headers.get('etag'), await head.text()], [200, etag, '']);
      }
    });

    test('are those of a closed list, wherever a name would lead', async () => {
      for (const name of [
        'nope.js',
        'constructor',
        '__proto__.js',
        '..%2fproblem.css',
        '%2e%2e/package.json',
        '..%5cproblem.css',
        'problem.css%00.js',
        'problem.css/',
        'PROBLEM.CSS',
        'http:%2f%2fexample.com%2fa.js',
        '',
      ]) {
        assertProblem(await get(`/assets/${name}`), 404, 'not-found');
      }
      for (const path of ['/problem.css', '/openapi.json/', '/package.json']) {
        assertProblem(await get(path), 404, 'not-found');
      }
      const posted = await answerOf(await fetch(new URL(`/assets/${files[0]}`, target().url), { method: 'POST' }));
      assertProblem(posted, 405, 'method-not-allowed');
    });
  });

  describe('problem pages', () => {
    test("a problem's type leads to a page that says what to do", async () => {
      const problem = await get('/nope');
      const page = await answerOf(await fetch(problem.json.type));
      assert.equal(page.status, 200);
      assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
      assert.match(page.text, /What to do/);
      assert.doesNotMatch(page.text, /<script/);
      for (const name of ['nope', 'constructor', '__proto__', '%00']) {
        assertProblem(await get(`/problems/${name}`), 404, 'not-found');
      }
    });
  });
}
