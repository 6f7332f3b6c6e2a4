// Every page and action of the console, in Chromium.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser, BrowserContextOptions, Page, Route } from 'playwright-core';
import { startBrowser, violationsOn, watchedPage } from '../support/browser.ts';
import { connectTo, createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';
import { headers, token } from '../support/tokens.ts';

describe('the console, in Chromium', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let browser: Browser;
  let sink: Sink;
  /** Signed in with every scope. */
  let page: Page;
  let complaints: string[];
  let endpoint: { id: string; secret: string };
  let user: { id: string };

  const post = async (path: string, body: object = {}): Promise<{ id: string; secret: string }> => {
    const init = { method: 'POST', headers: headers(), body: JSON.stringify(body) };
    const response = await fetch(`${service.url}/api/v1${path}`, init);
    assert.ok(response.ok, await response.clone().text());
    return (await response.json()) as { id: string; secret: string };
  };
  const go = (path: string) => page.goto(`${service.url}/console${path}`);
  const open = (options?: BrowserContextOptions) => watchedPage(browser, service.url, options);
  const heading = (name: string) => page.getByRole('heading', { level: 1, name, exact: true }).waitFor();
  const click = (role: 'button' | 'link', name: string) => page.getByRole(role, { name, exact: true }).click();
  /** An action's page shows its progress by itself, however long it takes. */
  const untilDone = async (count: string) => {
    const progress = page.getByRole('progressbar', { name: 'Progress' });
    assert.equal(await progress.getAttribute('max'), count);
    for (let look = 0; (await progress.getAttribute('value')) !== count && look < 60; look++) {
      await page.clock.runFor(1000);
      await page.waitForLoadState('networkidle');
    }
    await page.locator('.badge', { hasText: 'finished' }).waitFor();
  };

  before(async () => {
    [database, sink] = await Promise.all([createDatabase(), startSink()]);
    service = await startService({
      DATABASE_URL: database.url,
      DISPATCH_MAX_ATTEMPTS: '1',
      RATE_LIMIT_MAX: '100000',
      DISPATCH_INTERVAL_MS: '200',
    });
    browser = await startBrowser();
    sink.reply('/bad', 500);
    const description = 'unbroken'.repeat(20);
    endpoint = await post('/webhook-endpoints', { url: sink.url('/good'), events: ['none.ever'], description });
    const bad = await post('/webhook-endpoints', { url: sink.url('/bad'), events: ['order.sent'] });
    user = await post('/users', { email: 'ada@example.com', name: 'Ada Lovelace' });
    for (let n = 0; n < 4; n++)
      await post('/notifications', { email: `eve${n}@example.com`, type: 'order.sent', data: { n } });
    await sink.received('/bad', 4);
    await post(`/webhook-endpoints/${bad.id}/pause`);
    await post('/notifications', { email: 'eve@example.com', type: 'order.sent', data: { needle: true } });
    ({ page, complaints } = await open());
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
    await sink?.close();
    await database?.drop();
  });

  test('opens by the link that the terminal shows, once', async () => {
    const [, link] = /^Console: (\S+)$/m.exec(service.output()) ?? [];
    await page.goto(link as string);
    await click('button', 'Sign in');
    await heading('Overview');
    assert.equal(new URL(page.url()).pathname, '/console');
    const again = await open();
    await again.page.goto(link as string);
    await again.page.getByRole('button', { name: 'Sign in' }).click();
    await again.page.getByRole('alert').getByText('This link has been used or has expired.').waitFor();
    await again.page.context().close();
  });

  test('the overview shows what flows, refreshes itself, and holds still when it is told to', async () => {
    await page.clock.install();
    await go('');
    await page.getByText('1 dispatcher alive').waitFor();
    await page.getByRole('img', { name: /attempts in the last hour, by minute and outcome/ }).waitFor();
    await page.getByText('As a table').click();
    await page.getByRole('columnheader', { name: 'dead' }).waitFor();
    const dead = page.locator('.figures a[href$="status=dead"]');
    assert.equal(await dead.textContent(), '4');

    // Whatever else changes, this number comes from the database.
    await query(
      database.name,
      "insert into outcomes select uuid_v7(), 'dead', 1, null, now() from generate_series(1, 3)",
    );
    await page.clock.runFor(5000);
    await page.locator('.figures a[href$="status=dead"]', { hasText: '7' }).waitFor();
    assert.ok(await page.getByRole('columnheader', { name: 'dead' }).isVisible(), 'what was open stays open');
    const hold = page.getByRole('button', { name: 'Pause refresh' });
    await hold.click();
    assert.equal(await hold.getAttribute('aria-pressed'), 'true');
    let requests = 0;
    page.on('request', () => requests++);
    await page.clock.runFor(60_000);
    assert.equal(requests, 0);
    await hold.click();
    const refreshed = page.waitForResponse(`${service.url}/console`);
    await page.clock.runFor(5000);
    await refreshed;
    await query(database.name, 'delete from outcomes where dispatcher is null');
  });

  test('an endpoint is paused, enabled, tested and given a new secret', async () => {
    await go('/endpoints');
    await page.getByRole('row', { name: /\/good.*enabled/ }).waitFor();
    await page.getByRole('row', { name: /\/bad.*paused.*0 %/ }).waitFor();
    await click('link', sink.url('/good'));
    await click('button', 'Pause');
    await page.getByText('until it is enabled').waitFor();
    await click('button', 'Enable');
    await page.getByRole('status').getByText('Enabled.').waitFor();

    sink.reply('/good', 503);
    await click('button', 'Send a test');
    await heading('webhook.test');
    // The page shows the attempt by itself, however long it takes.
    const attempt = page.getByText('Attempt 1: HTTP 503');
    while (!(await attempt.isVisible())) {
      await page.clock.runFor(2000);
      await page.waitForLoadState('networkidle');
    }
    await page.goBack();
    await page.getByText('Rotate the secret…').click();
    await click('button', 'Rotate');
    await heading('New secret');
    const secret = await page.locator('pre').textContent();
    assert.match(secret ?? '', /^whsec_[\w+/=]{40,}$/);
    assert.notEqual(secret, endpoint.secret);
    await click('link', 'Back to the endpoint');
    await page.getByRole('heading', { name: 'Last failures' }).waitFor();
    await page.getByRole('listitem').filter({ hasText: 'HTTP 503' }).waitFor();
  });

  test('a notification is found by its text, opened and canceled, another one redriven', async () => {
    await go('/notifications');
    await page.getByLabel('Text in the payload, as sent').fill('needle');
    await page.getByLabel('Channel').selectOption('webhook');
    await page.getByLabel('From (UTC)').fill('2026-01-01T00:00');
    await click('button', 'Filter');
    await page.waitForURL(/text=needle/);
    assert.equal(await page.getByRole('row').count(), 2);
    assert.equal(await page.getByLabel('Text in the payload, as sent').inputValue(), 'needle');
    await click('link', 'order.sent');
    await page.getByText('bytes', { exact: false }).click();
    assert.match((await page.locator('pre').first().textContent()) ?? '', /"data": \{\n {4}"needle": true\n/);
    await click('button', 'Cancel');
    await page.locator('.timeline .badge', { hasText: 'canceled' }).waitFor();

    await go('/notifications?status=dead&type=order.sent');
    await page.locator('td a').first().click();
    await click('button', 'Redrive');
    await page.locator('.timeline').getByText('Next attempt').waitFor();
  });

  test('some are chosen and redriven, then all that match, each after a page with their number', async () => {
    await go('/notifications?status=dead&type=order.sent');
    await page.getByRole('checkbox').first().check();
    await click('button', 'Redrive chosen…');
    await page.getByText('1 notification is chosen').waitFor();
    await click('button', 'Redrive 1');
    await page.getByRole('status').getByText('1 changed.').waitFor();

    await go('/notifications?status=dead&type=order.sent');
    await click('link', 'Redrive all that match…');
    await page.getByText('2 dead notifications match.').waitFor();
    await click('button', 'Redrive 2');
    await heading('Redrive notifications');
    await untilDone('2');
    assert.equal(await page.getByRole('button', { name: 'Stop' }).count(), 0);
  });

  test('all that match are canceled, and an action is stopped while it runs', async (t) => {
    await go('/notifications?status=pending&type=order.sent&channel=webhook');
    await click('link', 'Cancel all that match…');
    await page.getByText('4 pending notifications match.').waitFor();
    await click('button', 'Cancel 4');
    await heading('Cancel notifications');
    await untilDone('4');

    await query(database.name, "update outcomes set status = 'dead' where status = 'canceled'");
    // The action waits for a row that somebody has locked.
    const other = await connectTo(database.name);
    t.after(other.close);
    await other.text("begin; select from outcomes where status = 'dead' order by notification_id limit 1 for update");
    await go('/notifications?status=dead&type=order.sent&channel=webhook');
    await click('link', 'Redrive all that match…');
    await click('button', 'Redrive 5');
    await heading('Redrive notifications');
    await click('button', 'Stop');
    await page.locator('.badge', { hasText: 'stopped' }).waitFor();
    await other.text('rollback');
  });

  test('the end of what is followed waits for whoever has selected text, or holds the page', async () => {
    const [{ id: paused = '' } = {}] = await query(
      database.name,
      "select id from webhook_endpoints where status = 'paused'",
    );
    const { id } = await post(`/webhook-endpoints/${paused}/test`);
    await go(`/notifications/${id}`);
    const refreshed = async () => {
      const response = page.waitForResponse(page.url());
      await page.clock.runFor(2000);
      await response;
      await page.waitForLoadState('networkidle');
    };
    const cancel = page.getByRole('button', { name: 'Cancel' });
    await cancel.waitFor();
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))");
    await post(`/notifications/${id}/cancel`);
    await refreshed();
    assert.equal(await page.evaluate('String(getSelection())'), 'webhook.test');
    const pausedMeanwhile = async (route: Route) => {
      await click('button', 'Pause refresh');
      await page.evaluate('getSelection().removeAllRanges()');
      await route.continue();
    };
    await page.route(page.url(), pausedMeanwhile, { times: 1 });
    await refreshed();
    assert.ok(await cancel.isVisible());
    await click('button', 'Pause refresh');
    await page.clock.runFor(2000);
    await page.locator('.timeline .badge', { hasText: 'canceled' }).waitFor();
  });

  test('a user is found by email, with their notifications', async () => {
    await go('/users');
    await page.getByLabel('Email').fill('ADA@example.com');
    await page.keyboard.press('Enter');
    await click('link', 'ada@example.com');
    await heading('Ada Lovelace');
    await page.getByRole('row', { name: /user\.created/ }).waitFor();
  });

  test('what was done is listed, by whom', async () => {
    await go('/actions');
    for (const name of ['Redrive notifications', 'Cancel notification', 'Rotate secret webhook endpoint']) {
      await page.getByRole('row', { name: new RegExp(`${name} developer finished`) }).waitFor();
    }
  });

  test('no page breaks WCAG 2.1 AA, in light, in dark, or is wider than a phone', async () => {
    const [{ id = '' } = {}] = await query(database.name, 'select notification_id as id from outcomes limit 1');
    const [{ id: action = '' } = {}] = await query(database.name, 'select id from actions order by id desc limit 1');
    const paths = [
      '',
      '/notifications',
      `/notifications/${id}`,
      '/notifications/all/redrive',
      '/notifications?endpointId=7',
      '/endpoints',
      `/endpoints/${endpoint.id}`,
      '/users',
      `/users/${user.id}`,
      '/actions',
      `/actions/${action}`,
      '/sign-in',
    ];
    for (const path of paths) {
      await page.setViewportSize({ width: 1280, height: 900 });
      await go(path);
      for (const summary of await page.locator('summary').all()) await summary.click();
      await page.emulateMedia({ colorScheme: 'light' });
      assert.deepEqual(await violationsOn(page), [], path);
      await page.emulateMedia({ colorScheme: 'dark' });
      assert.deepEqual(await violationsOn(page, ['color-contrast']), [], `${path}, in dark`);
      await page.setViewportSize({ width: 360, height: 740 });
      const [wide, room] = await page.evaluate<[number, number]>('[document.documentElement.scrollWidth, innerWidth]');
      assert.ok(wide <= room, `${path} is ${wide} wide`);
    }
    // Chromium itself logs a line for a response of 400 and above.
    assert.deepEqual(
      complaints.filter((text) => !/^Failed to load resource: .* 422/.test(text)),
      [],
    );
  });

  test('a refresh after the session has ended says so, and changes nothing', async () => {
    await page.setViewportSize({ width: 1280, height: 900 });
    await go('');
    await page.context().clearCookies();
    await page.clock.runFor(5000);
    await page.getByRole('status').getByText('Your session has ended: reload to sign in.').waitFor();
    await page.getByText('1 dispatcher alive').waitFor();
  });

  test('without a script everything works but refreshing, and with the keyboard alone', async () => {
    const plain = await open({ javaScriptEnabled: false });
    const { page: other } = plain;
    await other.goto(`${service.url}/console/endpoints/${endpoint.id}`);
    await other.getByLabel('Bearer token').focus();
    await other.keyboard.insertText(token({ claims: { sub: 'keyboard' } }));
    await other.keyboard.press('Enter');
    await other.getByRole('heading', { level: 1, name: 'Endpoint' }).waitFor();
    await other.keyboard.press('Tab');
    const left = await other.evaluate<number>('document.activeElement.getBoundingClientRect().left');
    assert.deepEqual([await other.locator(':focus').textContent(), left >= 0], ['Skip to the content', true]);
    await other.keyboard.press('Enter');
    // A link is followed after the key press.
    await other.locator('main:focus').waitFor();
    await other.keyboard.press('Tab');
    assert.equal(await other.locator(':focus').textContent(), 'Pause');
    assert.notEqual(await other.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'none');
    await other.keyboard.press('Enter');
    await other.getByRole('status').getByText('Paused').waitFor();
    await other.goto(`${service.url}/console`);
    await other.getByRole('link', { name: 'Reload' }).waitFor();
    assert.ok(await other.getByRole('button', { name: 'Pause refresh', includeHidden: true }).isHidden());
    await other.getByRole('button', { name: 'Sign out' }).click();
    await other.getByRole('heading', { name: 'Sign in' }).waitFor();
    assert.deepEqual(plain.complaints, []);
  });
});
