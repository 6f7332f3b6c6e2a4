// The console on real workerd, in Chromium: its pages are a module that is loaded when they are requested.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Browser } from 'playwright-core';
import { startBrowser, violationsOn, watchedPage } from '../support/browser.ts';
import { headers, token } from '../support/tokens.ts';
import { startWorkers, type Workers } from '../support/workerd.ts';

describe('the console on Workers, in Chromium', () => {
  let workers: Workers;
  let browser: Browser;

  before(async () => {
    [workers, browser] = await Promise.all([startWorkers(), startBrowser()]);
  });

  after(async () => {
    await browser?.close();
    await workers?.close();
  });

  test('shows the overview, and pauses an endpoint', async () => {
    const body = JSON.stringify({ url: 'https://example.com/', events: ['*'] });
    const made = await fetch(`${workers.url}/api/v1/webhook-endpoints`, { method: 'POST', headers: headers(), body });
    assert.equal(made.status, 201);
    const { page, complaints } = await watchedPage(browser, workers.url);
    await page.goto(`${workers.url}/console`);
    await page.getByLabel('Bearer token').fill(token());
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await page.getByRole('alert').getByText('No dispatcher is alive.').waitFor();
    // The text may appear before the style is applied.
    await page.waitForLoadState();
    assert.equal(await page.evaluate("getComputedStyle(document.querySelector('.alarm')).borderTopWidth"), '2px');
    await page.getByRole('button', { name: 'Pause refresh' }).waitFor();
    assert.deepEqual(await violationsOn(page), []);

    await page.getByRole('link', { name: 'Endpoints', exact: true }).click();
    await page.getByRole('link', { name: 'https://example.com/' }).click();
    await page.getByRole('button', { name: 'Pause' }).click();
    await page.getByRole('status').getByText('Paused').waitFor();
    assert.deepEqual(complaints, []);
  });
});
