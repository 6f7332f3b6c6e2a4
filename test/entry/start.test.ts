import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { ownDatabase } from '../support/databases.ts';
import { ownDirectory } from '../support/directories.ts';
import { startService, untilReady } from '../support/service.ts';

const root = join(import.meta.dirname, '../..');
const entry = join(root, 'src/entry/node.ts');
const prepare = join(root, 'src/entry/prepare.js');
/** A folder name that belongs to the current user. */
const FOLDER = `keelson-${process.getuid?.() ?? 'cache'}`;

/** Starts the service on a Postgres of its own, stops it, and returns the URLs of all that it loaded. */
async function loadedBy(t: TestContext, env: Record<string, string>): Promise<string[]> {
  const database = await ownDatabase(t);
  const file = join(ownDirectory(t), 'loaded');
  const command = [process.execPath, '--import', join(root, 'test/support/loaded-files.js'), entry];
  const service = await startService({ DATABASE_URL: database.url, LOADED_FILES: file, ...env }, command);
  await untilReady(service.url);
  assert.equal(await service.stop(), 0, service.output());
  return readFileSync(file, 'utf8').split('\n');
}

/** Returns what a script prints in a process that is prepared like the service. */
async function printedBy(script: string, env: Record<string, string> = {}): Promise<string> {
  const options = { env: { PATH: process.env.PATH, ...env } };
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', prepare, '-e', script], options);
  return stdout.trim();
}

/** Returns where such a process keeps compiled code, given the folder for temporary files. */
const cacheIn = (temporary: string) =>
  printedBy('console.log(require("node:module").getCompileCacheDir() ?? "none")', { TMPDIR: temporary });

const OTHER_DATABASES = /@electric-sql\/|@neondatabase\/|drizzle-orm\/(pglite|neon|node-postgres|migrator)/;
const METRICS = /prom-client|@opentelemetry|metrics-server/;
const SENDER = /node_modules\/undici\//;

test('on Postgres, nothing is loaded of other databases, of metrics that are off, of a dispatcher that is, and of a readable log', async (t) => {
  const loaded = await loadedBy(t, { METRICS_ADDR: 'off', DISPATCH_ENABLED: 'false' });
  assert.ok(loaded.some((url) => /\/pg\//.test(url)));
  for (const unused of [OTHER_DATABASES, METRICS, SENDER, /\/src\/(platform\/)?tracing/, /pino-pretty/]) {
    assert.deepEqual(
      loaded.filter((url) => unused.test(url)),
      [],
    );
  }
});

test('metrics and the sender are loaded where they are asked for, and of undici what it needs to send', async (t) => {
  const loaded = await loadedBy(t, {});
  assert.ok(loaded.some((url) => METRICS.test(url)));
  const sender = loaded.filter((url) => SENDER.test(url));
  assert.ok(sender.length > 0 && sender.length < 12, `${sender.length} files`);
  assert.deepEqual(
    loaded.filter((url) => OTHER_DATABASES.test(url)),
    [],
  );
});

test('a start leaves its code compiled for the next one', async (t) => {
  const temporary = ownDirectory(t);
  await loadedBy(t, { TMPDIR: temporary });
  const [version] = readdirSync(join(temporary, FOLDER));
  const kept = readdirSync(join(temporary, FOLDER, version as string)).length;
  assert.ok(kept > 200, `${kept} files`);
  await loadedBy(t, { TMPDIR: temporary });
  assert.equal(readdirSync(join(temporary, FOLDER, version as string)).length, kept, 'nothing was compiled anew');
});

test('compiled code is kept in a folder that nobody else may write to, and otherwise nowhere', async (t) => {
  const temporary = ownDirectory(t);
  assert.ok((await cacheIn(temporary)).startsWith(join(temporary, FOLDER)));
  chmodSync(join(temporary, FOLDER), 0o777);
  assert.equal(await cacheIn(temporary), 'none', 'writable for all');

  const other = ownDirectory(t);
  mkdirSync(join(other, 'elsewhere'));
  symlinkSync(join(other, 'elsewhere'), join(other, FOLDER));
  assert.equal(await cacheIn(other), 'none', 'a link');
});

test('without a place for compiled code the service starts all the same', async (t) => {
  await loadedBy(t, { TMPDIR: '/proc/nowhere' });
});
