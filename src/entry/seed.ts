import { parseArgs } from 'node:util';
import { app } from '../app.ts';
import { createClient, Problem } from '../client.ts';
import { type Deps, noMetrics } from '../deps.ts';
import { createLog } from '../platform/log.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { handleSignals } from '../platform/signals.ts';
import { type Config, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { openDatabase } from './open-database.ts';
import { number, progressOf, say } from './progress.ts';
import { wholeNumber } from './whole-number.ts';

const USAGE = 'usage: npm run seed -- --users 100000 [--yes]';

/** The number of concurrent requests. */
const CONCURRENCY = 32;

const complain = (text: string) => void process.stderr.write(text);

/**
 * Creates users by requests to the app in this process, with validation, events and notifications as usual. Their
 * emails are always the same, so that another run creates the missing ones.
 */
async function seed(): Promise<void> {
  const signals = handleSignals();
  readDotenv();
  const { users: total, yes } = readOptions();
  const config = parseConfig(withDevelopmentSecrets(process.env));
  if (config.production && !yes) throw new Error(`APP_ENV is production: --yes creates ${number(total)} users there`);
  const log = createLog('error', complain);
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const { db, close } = await openDatabase(config, secrets, log);
  const deps = depsOf(config, { db, secrets, log });
  const { users } = createClient('http://localhost', {
    token: 'seed',
    fetch: async (input, init) => app.fetch(new Request(input, init), deps),
  });

  let stopping = false;
  const stop = () => {
    stopping = true;
  };
  signals.setHandlers({ first: stop, second: () => process.exit(1) });

  const progress = progressOf('users');
  let next = 1;
  let created = 0;
  let existing = 0;
  async function work(): Promise<void> {
    while (next <= total && !stopping) {
      const digits = String(next++).padStart(6, '0');
      try {
        await users.create({ email: `seed-${digits}@example.com`, name: `Seed ${digits}` });
        created++;
      } catch (error) {
        if (!(error instanceof Problem && error.code === 'email-taken')) throw error;
        existing++;
      }
      progress.report(created + existing, total);
    }
  }
  // If one fails, the others stop, but their requests are awaited.
  const ends = await Promise.allSettled(Array.from({ length: CONCURRENCY }, () => work().finally(stop)));
  await close();
  progress.end();
  say(`${number(created)} users created, ${number(existing)} already existed.\n`);
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed) throw failed.reason;
  if (created + existing < total) throw new Error('Stopped: run it again to create the remaining users.');
}

function readOptions() {
  try {
    const { values } = parseArgs({ options: { users: { type: 'string', default: '1000' }, yes: { type: 'boolean' } } });
    return { users: wholeNumber('users', values.users, 1, 10_000_000), yes: values.yes };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${USAGE}`);
  }
}

/** The dependencies of the requests, without authentication and rate limit. */
function depsOf(settings: Config, own: Pick<Deps, 'db' | 'secrets' | 'log'>): Deps {
  return {
    ...own,
    settings,
    now: () => new Date(),
    limiter: { limit: 1, window: 1, take: async () => ({ allowed: true }) },
    verifier: async () => ({ sub: 'seed', scopes: new Set(['users:write']) }),
    refuseWebhookUrl: async () => undefined,
    // Dispatchers find the deliveries at their next tick.
    wake: () => {},
    assets: async () => undefined,
    metrics: noMetrics,
    inFlight: { count: 0 },
    draining: () => false,
    clientAddress: '',
  };
}

try {
  await seed();
} catch (error) {
  complain(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
process.exit();
