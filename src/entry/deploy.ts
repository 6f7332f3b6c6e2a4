import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { toDbError } from '../db.ts';
import { migratePostgres } from '../platform/migrate.ts';
import { allMigrations, type Migration, pendingMigrations } from '../platform/pending-migrations.ts';
import { PROJECT } from './generate.ts';
import { progressOf } from './progress.ts';
import { untilReady } from './until-ready.ts';
import { QUIET, WRANGLER } from './wrangler.ts';

const USAGE = 'usage: npm run deploy -- [--dry-run] [--allow-destructive] [--url https://api.example.com]';
const READY_MS = 60_000;

/** A problem that the operator has to solve. */
class Refusal extends Error {}

const say = (line: string) => void process.stdout.write(`${line}\n`);

async function deploy(): Promise<void> {
  const { values } = parseArgs({
    options: { 'dry-run': { type: 'boolean' }, 'allow-destructive': { type: 'boolean' }, url: { type: 'string' } },
  });
  const { 'dry-run': dryRun = false, 'allow-destructive': allowDestructive = false, url } = values;

  say('# 1 Migrations');
  await migrate(dryRun, allowDestructive);

  // The dispatcher first: the API has a binding to it.
  say('\n# 2 The dispatcher');
  await wrangler('worker-cron/wrangler.toml', dryRun);
  say('\n# 3 The API');
  const output = await wrangler('wrangler.toml', dryRun);

  say('\n# 4 Whether it is ready');
  const deployed = url ?? /https:\/\/\S+\.workers\.dev/.exec(output)?.[0];
  if (dryRun) return say(`would ask ${deployed ?? '<the URL that wrangler prints>'}/ready`);
  if (!deployed) throw new Refusal('wrangler printed no URL: set the one to check with --url');
  const why = await untilReady(deployed, { withinMs: READY_MS, everyMs: 1000 });
  if (why) throw new Refusal(`${deployed}/ready says ${why}`);
  say(`${deployed} is ready`);
}

async function migrate(dryRun: boolean, allowDestructive: boolean): Promise<void> {
  // A dry run needs no network, so it cannot know which migrations the database has.
  if (dryRun) {
    for (const migration of allMigrations()) describe('would apply, if missing,', migration);
    return;
  }
  const url = process.env.DATABASE_URL;
  if (!url?.startsWith('postgres')) throw new Refusal('DATABASE_URL must be set to the database to migrate');
  const pending = await pendingMigrations(url);
  if (pending.length === 0) return say('the schema is current');
  for (const migration of pending) describe('applies', migration);
  if (pending.some(({ destroys }) => destroys.length > 0) && !allowDestructive) {
    throw new Refusal('refused: data would be lost (see above). To continue, add --allow-destructive');
  }
  const { report, end } = progressOf('statements');
  await migratePostgres(url, undefined, report).finally(end);
}

function describe(verb: string, { file, destroys }: Migration): void {
  say(`${verb} ${file}`);
  for (const statement of destroys) say(`  destructive: ${statement}`);
}

/** Runs `wrangler deploy`, and returns its output. */
async function wrangler(config: string, dryRun: boolean): Promise<string> {
  const args = [WRANGLER, 'deploy', '-c', config, ...(dryRun ? ['--dry-run'] : [])];
  const child = spawn(process.execPath, args, {
    cwd: PROJECT,
    env: { ...process.env, ...(dryRun && QUIET), WRANGLER_SEND_METRICS: 'false' },
    stdio: ['inherit', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
    process.stdout.write(chunk);
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Refusal(`wrangler deploy -c ${config} failed`);
  return output;
}

try {
  await deploy();
} catch (error) {
  const { code, message } = error as Error & { code?: string };
  const known = error instanceof Refusal || code?.startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`${known ? message : toDbError(error).message}\n${known && code ? `${USAGE}\n` : ''}`);
  process.exitCode = 1;
}
