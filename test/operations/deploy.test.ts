import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { experimental_readRawConfig as readToml } from 'wrangler';
import { app } from '../../src/app.ts';
import { parseConfig } from '../../src/entry/config.ts';
import { inClone } from '../support/clone.ts';

const root = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const { scripts } = JSON.parse(read('package.json'));
const START = (scripts.start as string).replace('exec node ', '');
const MIGRATE = (scripts['db:migrate'] as string).replace('node ', '');

const NEEDED = { APP_ENV: 'production', DATABASE_URL: 'postgres://db/x', JWT_SECRET: 'x'.repeat(32) };
const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
const configOf = (env: Record<string, string>) => parseConfig({ ...NEEDED, SECRETS_KEY, ...env });

describe('the systemd unit', () => {
  const unit = read('docs/operations/keelson.service');
  const setting = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1];

  /** Returns what `systemd-analyze` says about a unit, with this machine's Node; undefined if the tool is missing. */
  function analyze(t: TestContext, text: string, ...args: string[]) {
    const folder = mkdtempSync(join(tmpdir(), 'keelson-unit-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'keelson.service');
    writeFileSync(path, text.replaceAll('/usr/bin/node', process.execPath));
    const { status, stderr, stdout, error } = spawnSync('systemd-analyze', [...args, path], { encoding: 'utf8' });
    if (!error) return { status, stderr, stdout };
    t.skip(`systemd-analyze does not run here: ${error.message}`);
  }

  test('is one that systemd takes without a warning', (t) => {
    const found = analyze(t, unit, 'verify');
    if (!found) return;
    assert.deepEqual(found, { status: 0, stderr: '', stdout: '' });
    assert.match(analyze(t, unit.replace('UMask', 'UMusk'), 'verify')?.stderr ?? '', /Unknown key/);
  });

  test('leaves the service few privileges', (t) => {
    // 0 is no exposure, 100 is full; a unit without hardening has 96.
    const found = analyze(t, unit, 'security', '--offline=yes', '--threshold=20');
    if (found) assert.equal(found.status, 0, found.stdout);
  });

  test('runs what npm start runs, after the migrations, and waits longer for a stop than the stop may take', () => {
    assert.equal(setting('ExecStart'), `/usr/bin/node ${START}`);
    assert.equal(setting('ExecStartPre'), `/usr/bin/node ${MIGRATE}`);
    assert.ok(Number(setting('TimeoutStopSec')) * 1000 > configOf({}).shutdownTimeoutMs);
  });
});

describe('fly.toml', () => {
  // biome-ignore lint/suspicious/noExplicitAny: a file is looked at, not typed
  const fly = readToml({ config: join(root, 'docs/operations/fly.toml') }).rawConfig as any;
  const dockerfile = read('Dockerfile');

  test('agrees with the image and with itself', () => {
    const config = configOf(fly.env);
    assert.match(dockerfile, new RegExp(`^EXPOSE ${fly.http_service.internal_port}$`, 'm'));
    assert.equal(fly.metrics.port, config.metrics?.port);
    assert.equal(fly.deploy.release_command, `node ${MIGRATE}`);
    assert.equal(fly.kill_signal, 'SIGTERM');
    assert.ok(fly.kill_timeout * 1000 > config.shutdownTimeoutMs);
    assert.equal(fly.http_service.auto_stop_machines, 'off');
    const served = new Set(app.routes.map(({ path }) => path));
    for (const { path } of fly.http_service.checks) assert.ok(served.has(path), path);
  });
});

describe('the documentation of operations', () => {
  const PAGES = [
    'README.md',
    ...['deploy-container', 'deploy-deno', 'deploy-fly', 'deploy-vm', 'metrics', 'runbook'].map(
      (name) => `docs/operations/${name}.md`,
    ),
  ];

  test('names settings that are taken', () => {
    const settings = [...read('docs/operations/deploy-deno.md').matchAll(/`([A-Z_]+)=([^`]+)`/g)];
    assert.ok(settings.length >= 6);
    const config = configOf(Object.fromEntries(settings.map(([, name, value]) => [name, value])));
    assert.ok(config.shutdownTimeoutMs < 5000);
  });

  test('has no link that leads nowhere', () => {
    for (const page of PAGES) {
      for (const [, link] of read(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
        assert.ok(existsSync(join(root, dirname(page), link as string)), `${page}: ${link}`);
      }
    }
  });

  test('what Workers record by themselves has no URLs, which may hold secrets', () => {
    for (const config of ['wrangler.toml', 'worker-cron/wrangler.toml']) {
      const { observability } = readToml({ config: join(root, config) }).rawConfig;
      assert.equal(observability?.logs?.invocation_logs, false, config);
      assert.equal(observability?.traces?.enabled, false, config);
    }
  });

  test('is linked by the README', { skip: inClone }, () => {
    for (const page of PAGES.slice(1)) assert.ok(read('README.md').includes(`(${page})`), `README.md links ${page}`);
  });
});
