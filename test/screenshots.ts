// npm run screenshots: writes docs/screenshots/, of the console on a service with an hour of made-up deliveries.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { startBrowser, watchedPage } from './support/browser.ts';
import { createDatabase } from './support/databases.ts';
import { query, startPostgres } from './support/postgres-server.ts';
import { startService } from './support/service.ts';
import { startSink } from './support/sink.ts';
import { headers } from './support/tokens.ts';

const FOLDER = join(import.meta.dirname, '../docs/screenshots');

// A wave with a failure in it, drawn the same in every run.
const HOUR = `
  insert into delivery_stats (minute, dispatcher, outcome, bucket, count, firsts, wait_ms, run_ms)
  select date_trunc('minute', now()) - n * interval '1 minute', 'example', o.outcome,
         case when o.outcome = 'sent' then b.bucket else 0 end, greatest(0, o.count * b.share / 100),
         o.count * b.share / 100, o.count * b.share / 100 * 5, o.count * b.share / 100 * 34
  from generate_series(1, 59) n
  cross join lateral (values
    ('sent', (90 + 40 * sin(n / 7.0) + (n * 7) % 11)::int),
    ('retry', case when n between 20 and 31 then (30 - abs(n - 25) * 4)::int else n % 3 end),
    ('dead', case when n between 21 and 26 then 3 else 0 end)
  ) o (outcome, count)
  cross join lateral (values (20, 70), (30, 27), (40, 3)) b (bucket, share)
  where o.count * b.share / 100 > 0 and (o.outcome = 'sent' or b.bucket = 20)`;

const postgres = await startPostgres();
const database = await createDatabase();
const sink = await startSink();
const service = await startService({ DATABASE_URL: database.url, DISPATCH_MAX_ATTEMPTS: '1' });
const browser = await startBrowser();

async function post(path: string, body: object = {}): Promise<{ id: string }> {
  const init = { method: 'POST', headers: headers(), body: JSON.stringify(body) };
  return (await (await fetch(`${service.url}/api/v1${path}`, init)).json()) as { id: string };
}

async function picture(page: Page, path: string, name: string): Promise<void> {
  if (path) await page.goto(`${service.url}/console${path}`);
  await page.screenshot({ path: join(FOLDER, `${name}.png`) });
  console.log(`docs/screenshots/${name}.png`);
}

try {
  await query(database.name, HOUR);
  sink.reply('/erp', 503);
  for (const [path, description, events] of [
    ['/crm', 'CRM', ['*']],
    ['/billing', 'Billing', ['invoice.paid']],
    ['/erp', 'ERP, being moved', ['order.sent']],
  ] as const) {
    await post('/webhook-endpoints', { url: sink.url(path), events, description });
  }
  const types = ['invoice.paid', 'order.sent', 'report.ready'];
  for (let n = 0; n < 18; n++) {
    const data = { invoice: `INV-${100 + n}`, amount: 1200 + n };
    await post('/notifications', { email: `ada${n}@example.com`, type: types[n % 3], data });
  }
  await sink.received('/erp', 6);
  await sink.received('/crm', 18);

  mkdirSync(FOLDER, { recursive: true });
  const { page } = await watchedPage(browser, service.url, { viewport: { width: 1120, height: 840 } });
  const [, link = ''] = /^Console: (\S+)$/m.exec(service.output()) ?? [];
  await page.goto(link);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await picture(page, '', 'overview');
  await picture(page, '/notifications', 'notifications');
  await page.goto(`${service.url}/console/notifications?status=dead`);
  await page.locator('td a').first().click();
  await page.locator('summary').first().click();
  await picture(page, '', 'notification');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, '', 'notification-dark');
  await page.goto(`${service.url}/console`);
  await picture(page, '', 'overview-dark');
  await page.setViewportSize({ width: 390, height: 760 });
  await page.emulateMedia({ colorScheme: 'light' });
  await picture(page, '', 'overview-phone');
} finally {
  await browser.close();
  await service.stop();
  await sink.close();
  await database.drop();
  await postgres.stop();
}
