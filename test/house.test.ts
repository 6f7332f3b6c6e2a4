// The house rules for every import in src/ and worker-cron/. Add a folder to FLOORS when you add one to src/.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');

/** Floors, from the ground up. An import goes to a lower floor, or stays in its folder. */
const FLOORS = [
  ['errors.ts', 'db.ts', 'fields.ts', 'bounded-map.ts', 'fnv1a.ts'],
  ['view.ts', 'trace-context.ts'],
  ['tracing.ts'],
  ['deps.ts'],
  ['idempotency'],
  ['table-store.ts'],
  ['rate-limits'],
  ['outbox'],
  ['http'],
  ['system'],
  ['resources'],
  ['dispatcher'],
  ['docs', 'console'],
  ['app.ts'],
  ['client.ts'],
  ['platform'],
  ['entry'],
  ['worker-cron'],
];

/** Folders that app.ts mounts under /api/v1: each is a resource, and all are on one floor. */
const RESOURCES = Array.from(
  readFileSync(join(root, 'src/app.ts'), 'utf8').matchAll(/^import \{ \w+ \} from '\.\/([\w-]+)\/routes\.ts';$/gm),
  (found) => found[1] as string,
).filter((folder) => !['docs', 'system'].includes(folder));
const DRIVERS =
  /^(node:|cloudflare:|pg$|undici(\/|$)|@electric-sql\/|@neondatabase\/|@hono\/node-server|prom-client$|pino-pretty$)/;
const MAY_HOLD_SQL =
  /^(db|view|table-store|.*\/(store|schema)|idempotency\/reserve-key|outbox\/(enqueue|reseal)|notifications\/filters|dispatcher\/(claims|settlements|jobs|depth|housekeeping))\.ts$/;

type Import = { from: string; to: string };

/** Every import of a tree, by paths from `src`; packages by their names. */
function importsOf(files: Record<string, string>): Import[] {
  return Object.entries(files).flatMap(([from, text]) =>
    Array.from(
      text.matchAll(/^(?:import|export)\b[^;]*?from '([^']+)'|\bimport\('([^']+)'\)|^import '([^']+)'/gm),
      (found) => {
        const to = (found[1] ?? found[2] ?? found[3]) as string;
        return { from, to: to.startsWith('.') ? join(dirname(from), to) : to };
      },
    ),
  );
}

function folderOf(path: string): string {
  if (path.startsWith('../worker-cron/')) return 'worker-cron';
  return path.split('/')[0] as string;
}

function floorOf(path: string): number {
  const folder = folderOf(path);
  return FLOORS.findIndex((floor) => floor.includes(RESOURCES.includes(folder) ? 'resources' : folder));
}

const areResources = (...paths: string[]) => paths.every((path) => RESOURCES.includes(folderOf(path)));

/** Whether imports lead from `to` back to `from`, from one resource to the next. */
function isCircular(from: string, to: string, files: Record<string, string>): boolean {
  const reached = new Set([folderOf(to)]);
  for (const folder of reached) {
    for (const each of importsOf(files)) if (folderOf(each.from) === folder) reached.add(folderOf(each.to));
  }
  return reached.has(folderOf(from));
}

/** The files that import themselves through others. */
function filesInCircles(files: Record<string, string>): string[] {
  const imports = new Map(Object.keys(files).map((path) => [path, new Set<string>()]));
  for (const { from, to } of importsOf(files)) imports.get(from)?.add(to);
  return [...imports.keys()].filter((path) => {
    const reached = new Set(imports.get(path));
    for (const each of reached) for (const next of imports.get(each) ?? []) reached.add(next);
    return reached.has(path);
  });
}

/** Describes what breaks the rules. */
function violations(files: Record<string, string>): string[] {
  const found: string[] = [];
  for (const { from, to } of importsOf(files)) {
    const complain = (rule: string) => found.push(`${from} imports ${to}: ${rule}`);
    const folder = folderOf(from);
    const isOutside = ['platform', 'entry', 'worker-cron'].includes(folder);
    if (DRIVERS.test(to) && !isOutside) complain('the core names no runtime and no driver');
    if (/^drizzle-orm/.test(to) && !isOutside && !MAY_HOLD_SQL.test(from)) complain('SQL stays in its own files');
    if (!/^(\.\.\/worker-cron\/|[\w-]+\/|[\w-]+\.ts$)/.test(to) || !/\.tsx?$/.test(to)) continue;
    if (floorOf(from) < 0) complain(`${folder} has no floor`);
    else if (folderOf(to) !== folder && areResources(from, to)) {
      if (!to.endsWith('/schema.ts')) complain("no resource imports another's store or routes");
      if (isCircular(from, to, files)) complain('no two resources import each other');
    } else if (folderOf(to) !== folder && floorOf(to) >= floorOf(from)) complain('an import goes down, never up');
    if (folder === 'platform' && /\/(routes|store)\.ts$/.test(to) && !to.startsWith('rate-limits/')) {
      complain('an adapter knows its port, and nothing of who uses it');
    }
  }
  for (const path of filesInCircles(files)) found.push(`${path}: no file imports itself through others`);
  return found;
}

test('imports go down, SQL and drivers stay where they belong', () => {
  const paths = globSync(['src/**/*.{ts,tsx}', 'worker-cron/**/*.ts'], { cwd: root });
  const files = Object.fromEntries(
    paths.map((path) => [relative('src', path), readFileSync(join(root, path), 'utf8')]),
  );
  assert.ok(importsOf(files).length > 300, 'imports are found');
  assert.deepEqual(violations(files), []);
});

test('the first of several processes loads none of the app and no database driver', () => {
  const reached = new Set(['entry/primary.ts']);
  const packages = new Set<string>();
  for (const path of reached) {
    // Type-only imports are not loaded.
    const text = readFileSync(join(root, 'src', path), 'utf8').replace(/^import type [^;]*;/gm, '');
    for (const { to } of importsOf({ [path]: text })) (to.endsWith('.ts') ? reached : packages).add(to);
  }
  assert.deepEqual(
    [...reached].filter((path) => !/^(entry|platform)\//.test(path) || path === 'entry/main.ts'),
    [],
  );
  const own = [...packages].filter((name) => !name.startsWith('node:'));
  // For the configuration, the metrics, and the token that is printed in development.
  assert.deepEqual(own.sort(), ['jose', 'prom-client', 'zod/mini']);
});

test('each rule refuses what breaks it', () => {
  const planted: [path: string, line: string, rule: RegExp][] = [
    ['notifications/store.ts', "import { app } from '../app.ts';", /down, never up/],
    ['outbox/enqueue.ts', "import type { Delivery } from '../dispatcher/claims.ts';", /down, never up/],
    ['http/auth.ts', "import {\n  notifications,\n} from '../notifications/schema.ts';", /down, never up/],
    ['dispatcher/dispatch.ts', "import { app } from '../app.ts';", /down, never up/],
    ['platform/log.ts', "const main = await import('../entry/main.ts');", /down, never up/],
    ['no-such-resource/store.ts', "import type { Db } from '../db.ts';", /no floor/],
    ['webhook-endpoints/store.ts', "import { findNotification } from '../notifications/store.ts';", /another's store/],
    ['dispatcher/lanes.ts', "import { hash } from 'node:crypto';", /no runtime/],
    ['notifications/routes.ts', "import pg from 'pg';", /no driver/],
    ['dispatcher/channels/webhook.ts', "import { Pool } from 'undici/index.js';", /no driver/],
    ['dispatcher/dispatch.ts', "import { sql } from 'drizzle-orm';", /SQL stays/],
    ['platform/log.ts', "import { createNotification } from '../notifications/store.ts';", /knows its port/],
  ];
  for (const [path, line, rule] of planted) {
    const [found, ...others] = violations({ [path]: line });
    assert.match(found ?? 'nothing', rule, line);
    assert.deepEqual(others, []);
  }
  const circle = {
    'notifications/store.ts': "import { view } from '../webhook-endpoints/schema.ts';",
    'webhook-endpoints/routes.ts': "import { NotificationView } from '../notifications/schema.ts';",
  };
  for (const found of violations(circle)) assert.match(found, /import each other/);
  assert.equal(violations(circle).length, 2);
  const files = {
    'dispatcher/lanes.ts': "import { roomOf } from './rooms.ts';",
    'dispatcher/rooms.ts': "import type { Lane } from './lanes.ts';",
    'dispatcher/dispatch.ts': "import { hold } from './lanes.ts';",
  };
  assert.deepEqual(filesInCircles(files), ['dispatcher/lanes.ts', 'dispatcher/rooms.ts']);
  assert.equal(violations(files).length, 2);
});
