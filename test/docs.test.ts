import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import chromium from '@sparticuz/chromium';
import { type Browser, chromium as playwright } from 'playwright-core';
import { createDatabase } from './support/databases.ts';
import { type Service, startService } from './support/service.ts';
import { token } from './support/tokens.ts';

// The package's own list turns off what is to be tested, such as the web's security.
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
/** Where to leave pictures of the page, for whoever wants to look at it. */
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

  /** A page that remembers whatever went wrong in it, a broken Content-Security-Policy included. */
  async function open(path: string, colorScheme: 'light' | 'dark' = 'light') {
    const page = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(15_000);
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
    return { page, complaints };
  }

  // biome-ignore lint/suspicious/noExplicitAny: a document is walked, not typed
  const description = async (): Promise<any> => (await fetch(`${service.url}/openapi.json`)).json();

  /** What the page calls an operation. */
  async function nameOf(operationId: string): Promise<string> {
    const operations = Object.values<object>((await description()).paths).flatMap((item) => Object.values(item));
    return operations.find((operation) => operation.operationId === operationId).summary;
  }

  async function picture(page: { screenshot(options: object): Promise<unknown> }, name: string): Promise<void> {
    if (DOCS_SCREENSHOTS) await page.screenshot({ path: `${DOCS_SCREENSHOTS}/${name}.png` });
  }

  test('a token is pasted and an endpoint created, read and created again by mistake, without a complaint', async () => {
    const { page, complaints } = await open('/docs');
    await page.locator('#content[data-ready]').waitFor();
    await picture(page, 'docs');
    await page.getByLabel('Bearer token').fill(`Bearer ${token()}`);
    assert.match((await page.locator('#who').textContent()) ?? '', /Subject tester, scopes: .*webhooks:read/);

    const [creates, reads] = [await nameOf('createWebhookEndpoint'), await nameOf('getWebhookEndpoint')];
    await page.getByRole('link', { name: creates, exact: true }).click();
    const create = page.getByRole('form', { name: `Try ${creates}`, exact: true });
    const body = create.getByLabel('Body');
    const [example] = (await description()).components.schemas.WebhookEndpointInput.examples;
    assert.deepEqual(JSON.parse(await body.inputValue()), example);
    await create.getByRole('button', { name: 'Generate' }).click();
    assert.match(await create.getByLabel('Idempotency-Key').inputValue(), /^"[0-9a-f-]{36}"$/);
    await create.getByRole('button', { name: 'Send' }).click();
    const answer = create.getByRole('status');
    await answer.getByText('201', { exact: true }).waitFor();
    const endpoint = JSON.parse((await answer.locator('pre').first().textContent()) ?? '');
    assert.equal(endpoint.url, example.url);
    await picture(page, 'created');
    await create.getByRole('button', { name: 'Send' }).click();
    await answer.getByText('idempotent-replayed: true').waitFor({ state: 'attached' });

    await page.getByRole('link', { name: reads, exact: true }).click();
    const read = page.getByRole('form', { name: `Try ${reads}`, exact: true });
    await read.getByLabel('id').first().fill(endpoint.id);
    await read.getByRole('button', { name: 'Send' }).click();
    await read.getByRole('status').getByText('200', { exact: true }).waitFor();
    assert.deepEqual(complaints, []);
    await page.close();
  });

  test('a problem leads to its page, and every operation has a form that the keyboard reaches', async () => {
    const { page, complaints } = await open('/docs#listWebhookEndpoints', 'dark');
    const list = page.getByRole('form', { name: `Try ${await nameOf('listWebhookEndpoints')}`, exact: true });
    await page.locator('#content[data-ready]').waitFor();
    await list.getByLabel('limit').focus();
    await page.keyboard.type('0');
    await page.keyboard.press('Enter');
    await list.getByRole('status').getByText('401', { exact: true }).waitFor();
    // Chromium itself writes a line for every answer of 400 and more.
    assert.deepEqual(
      complaints.filter((text) => !/^Failed to load resource: .* 401/.test(text)),
      [],
    );
    await picture(page, 'dark');
    const forms = await page.getByRole('form', { includeHidden: true }).count();
    assert.equal(forms, Object.values<object>((await description()).paths).flatMap((item) => Object.keys(item)).length);
    const labels = await page.evaluate<number[]>(
      "[...document.querySelectorAll('input, textarea, select')].map((input) => input.labels.length)",
    );
    assert.ok(labels.length > 2 * forms && labels.every((count) => count === 1), `${labels}`);
    await page.close();

    const problem = await open('/problems/validation-failed');
    await problem.page.getByRole('heading', { name: 'What to do' }).waitFor();
    await picture(problem.page, 'problem');
    assert.deepEqual(problem.complaints, []);
    await problem.page.close();
  });

  test('what could run in it is what the service itself serves, and nothing inline', async () => {
    const { page, complaints } = await open('/docs');
    await page.locator('#content[data-ready]').waitFor();
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
