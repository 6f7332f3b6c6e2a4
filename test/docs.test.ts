import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import chromium from '@sparticuz/chromium';
import { type Browser, type Page, chromium as playwright } from 'playwright-core';
import { createDatabase } from './support/databases.ts';
import { type Service, startService } from './support/service.ts';
import { token } from './support/tokens.ts';

// The package's own list turns off what is to be tested, such as web security.
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
/** Where to save screenshots of the page, for anyone who wants to look at it. */
const { DOCS_SCREENSHOTS } = process.env;
const root = join(import.meta.dirname, '..');

describe('the page at /docs, in Chromium', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let browser: Browser;

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url });
    browser = await playwright.launch({
      executablePath: await chromium.executablePath(),
      args: ARGS,
      headless: true,
    });
  });

  after(async () => {
    await browser?.close();
    await service?.stop();
    await database?.drop();
  });

  /** Opens a page that records everything that goes wrong in it, including Content-Security-Policy violations. */
  async function open(path: string, { proxied = false } = {}) {
    const page = await browser.newPage({
      colorScheme: proxied ? 'dark' : 'light',
      extraHTTPHeaders: proxied ? { Via: '1.1 proxy' } : {},
      viewport: { width: 1280, height: 900 },
    });
    page.setDefaultTimeout(60_000);
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}`));
    page.on('request', (request) => {
      if (!request.url().startsWith(service.url) && !request.url().startsWith('data:')) {
        complaints.push(`asked for ${request.url()}`);
      }
    });
    await page.goto(service.url + path);
    await page.bringToFront();
    return { page, complaints };
  }

  async function picture(page: Page, name: string): Promise<void> {
    if (DOCS_SCREENSHOTS) await page.screenshot({ path: `${DOCS_SCREENSHOTS}/${name}.png` });
  }

  /** The part of the page that a link to an operation opens. */
  const operation = (page: Page, id: string) => page.locator(`.opblock[id$="-${id}"]`);

  /** Sends the request of an operation as it is filled in, and returns the status and the body of the answer. */
  async function execute(page: Page, id: string) {
    const block = operation(page, id);
    // By the keyboard: a click waits for frames, and the browser may draw none while the page scrolls to the operation.
    await block.getByRole('button', { name: 'Execute' }).press('Enter');
    const answer = block.locator('.live-responses-table .response');
    const status = (await answer.locator('.response-col_status').textContent()) ?? '';
    const body = (await answer.locator('.highlight-code').first().textContent()) ?? '';
    return { status: Number.parseInt(status, 10), body };
  }

  test('a developer opens an operation, finds a token filled in, and tries it, without a complaint', async () => {
    const { page, complaints } = await open('/docs#/Webhook%20endpoints/createWebhookEndpoint');
    await page.locator('#docs[data-ready]').waitFor();
    const { status, body } = await execute(page, 'createWebhookEndpoint');
    await picture(page, 'docs');
    assert.equal(status, 201, body);
    assert.match(body, /"secret": "whsec_/);
    assert.deepEqual(complaints, []);
    await page.close();
  });

  test('through a proxy no token is filled in; one that is pasted is sent', async () => {
    const { page, complaints } = await open('/docs#/Webhook%20endpoints/listWebhookEndpoints', { proxied: true });
    await page.locator('#docs[data-ready]').waitFor();
    assert.equal((await execute(page, 'listWebhookEndpoints')).status, 401);
    await page.locator('.auth-wrapper .authorize').click();
    await page.locator('.auth-container input').fill(token());
    await page.locator('.auth-container').getByRole('button', { name: 'Apply' }).click();
    await page.locator('.auth-container').getByRole('button', { name: 'Close' }).click();
    const block = operation(page, 'listWebhookEndpoints');
    await block.getByRole('button', { name: 'Clear' }).click();
    const { status, body } = await execute(page, 'listWebhookEndpoints');
    await picture(page, 'dark');
    assert.equal(status, 200, body);
    // Chromium itself logs a line for every response of 400 and above.
    const others = complaints.filter((text) => !/^Failed to load resource: .* 401/.test(text));
    assert.deepEqual(others, []);
    await page.close();
  });

  test("a problem's page has its style and no script", async () => {
    const problem = await open('/problems/validation-failed');
    await problem.page.getByRole('heading', { name: 'What to do' }).waitFor();
    await picture(problem.page, 'problem');
    assert.deepEqual(problem.complaints, []);
    await problem.page.close();
  });

  test('what could run in it is what the service itself serves, and nothing inline', async () => {
    const { page, complaints } = await open('/docs');
    await page.locator('#docs[data-ready]').waitFor();
    const ran = await page.evaluate(`
      const script = document.createElement('script');
      script.textContent = 'window.injected = true';
      document.body.append(script);
      'injected' in window;
    `);
    assert.equal(ran, false);
    assert.match(complaints.join(), /Content Security Policy/);
    await page.close();
  });
});

test('every test that SECURITY.md names exists', () => {
  const page = readFileSync(join(root, 'SECURITY.md'), 'utf8');
  const cited = Array.from(page.matchAll(/`(test\/[\w/-]+(?:\.test)?\.ts)`(?:: ((?:"[^"]+"(?:, )?)+))?/g));
  assert.ok(cited.length > 30, `${cited.length} found`);
  for (const [, file, names = ''] of cited) {
    const text = readFileSync(join(root, file as string), 'utf8');
    for (const [, name] of names.matchAll(/"([^"]+)"/g)) {
      const exists = ["'", '"'].some((quote) =>
        ['test', 'it'].some((call) => text.includes(`${call}(${quote}${name}${quote}`)),
      );
      assert.ok(exists, `${file}: ${name}`);
    }
  }
});
