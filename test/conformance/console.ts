import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { token } from '../support/tokens.ts';
import { caller, type Target, unique } from './target.ts';

/** Tests the operator's pages, requested as a browser does. */
export function operatorPages(target: () => Target): void {
  const open = (path: string, init: RequestInit = {}) =>
    fetch(new URL(`/console${path}`, target().url), { redirect: 'manual', ...init });
  const send = (path: string, fields: Record<string, string>, cookie = '') =>
    open(path, {
      method: 'POST',
      headers: { 'Sec-Fetch-Site': 'same-origin', ...(cookie && { Cookie: cookie }) },
      body: new URLSearchParams(fields),
    });
  const signIn = async () => {
    const answer = await send('/sign-in', { token: token({ claims: { sub: `sub-${unique()}` } }) });
    assert.equal(answer.status, 303, await answer.text());
    return answer.headers.get('set-cookie')?.split(';', 1)[0] ?? '';
  };

  describe('the console', () => {
    test('shows its pages to whoever signed in with a token', async () => {
      const Cookie = await signIn();
      for (const [path, title] of Object.entries({
        '': 'Overview',
        '/notifications': 'Notifications',
        '/endpoints': 'Endpoints',
        '/actions': 'Actions',
        '/inbox': 'Inbox',
      })) {
        const answer = await open(path, { headers: { Cookie } });
        assert.deepEqual([answer.status, (await answer.text()).includes(`<h1>${title}</h1>`)], [200, true], path);
      }
    });

    test('has an inbox that receives webhooks, verifies them, and answers as was chosen', async () => {
      const call = caller(target);
      const cookie = await signIn();
      const [name, type] = [unique(), `test.t${unique()}`];
      assert.equal((await send(`/inbox/${name}/answer`, { answer: 'gone' }, cookie)).status, 303);
      const url = new URL(`/console/inbox/${name}`, target().url).href;
      const hook = await call('POST', '/api/v1/webhook-endpoints', { body: { url, events: [type] } });
      const body = { email: 'someone@example.com', type, data: {} };
      assert.equal((await call('POST', '/api/v1/notifications', { body })).status, 202);
      const path = `/api/v1/webhook-endpoints/${hook.json.id}`;
      while ((await call('GET', path)).json.status !== 'disabled') await pass(250);
      const page = await (await open(`/inbox/${name}`, { headers: { Cookie: cookie } })).text();
      assert.match(page, new RegExp(`${type}</a></td><td><span class="badge sent">verified</span>`));
    });
  });
}
