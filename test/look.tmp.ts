import { startBrowser, watchedPage, violationsOn } from './support/browser.ts';
const [link, out] = process.argv.slice(2) as [string, string];
const origin = new URL(link).origin;
const browser = await startBrowser();
const { page, complaints } = await watchedPage(browser, origin);
await page.goto(link);
const shot = async (n: string) => { await page.screenshot({ path: `${out}/${n}.png`, fullPage: true }); console.log(n, page.url(), await violationsOn(page)); };
await shot('overview');
for (const p of ['notifications','notifications?status=dead','endpoints','users','actions','notifications/redrive','nope']) { await page.goto(`${origin}/console/${p}`); await shot(p.replace(/[?=\/]/g,'-')); }
await page.goto(`${origin}/console/notifications?status=dead`); await page.locator('td a').first().click(); for (const d of await page.locator('summary').all()) await d.click(); await shot('notification');
await page.goto(`${origin}/console/endpoints`); await page.locator('td a').last().click(); await shot('endpoint');
await page.goto(`${origin}/console/users`); await page.locator('td a').first().click(); await shot('user');
await page.emulateMedia({ colorScheme: 'dark' }); await page.goto(`${origin}/console`); await shot('dark');
await page.goto(`${origin}/console/notifications`); await shot('dark-n');
await page.setViewportSize({ width: 390, height: 800 }); await shot('phone-n'); await page.goto(`${origin}/console`); await shot('phone');
console.log(complaints);
await browser.close();
