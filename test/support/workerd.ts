import { join } from 'node:path';
import { writeEdgeFiles } from '../../src/entry/edge-files.ts';
import { PROJECT } from '../../src/entry/generate.ts';
import { QUIET, readWorkerConfig, type WorkerConfig } from '../../src/entry/wrangler.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from './databases.ts';
import { SECRET } from './deps.ts';

// Read by wrangler as it loads.
Object.assign(process.env, QUIET, { WRANGLER_LOG: 'error' });
const { createTestHarness } = await import('wrangler');

const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');

type Vars = Record<string, string>;
/** What a test changes in the Workers: variables of one of them, or the target of the API's binding. */
type Changes = { api?: Vars; dispatcher?: Vars; binding?: 'missing' | 'throwing' };

/** The Workers of wrangler.toml and worker-cron/ in real workerd, without the cron trigger. `vars` are for both. */
export async function workersHarness(vars: Vars, { api = {}, dispatcher = {}, binding }: Changes = {}) {
  const both = { APP_ENV: 'development', SECRETS_KEY, ...vars };
  await writeEdgeFiles();
  const first = await configOf('wrangler.toml', { ...both, JWT_SECRET: SECRET, ...api });
  const second = await configOf('worker-cron/wrangler.toml', { ...both, ...dispatcher });
  // The binding counts requests, and the variable only states the limit: they change together.
  const simple = { limit: Number(api.RATE_LIMIT_MAX ?? 600), period: 60 };
  first.ratelimits = [{ name: 'RATE_LIMITER', namespace_id: '1', simple }];
  if (binding === 'missing') delete first.services;
  if (binding === 'throwing') first.services = [{ binding: 'DISPATCHER', service: THROWING.name }];
  return createTestHarness({ root: PROJECT, workers: [first, second, THROWING].map((config) => ({ config })) });
}

const THROWING = {
  name: 'throwing',
  main: join(PROJECT, 'test/support/throwing-worker.ts'),
  compatibility_date: '2026-11-01',
};

async function configOf(path: string, vars: Vars): Promise<WorkerConfig> {
  const config = await readWorkerConfig(path);
  return { ...config, vars: { ...config.vars, ...vars } };
}

export type Workers = Awaited<ReturnType<typeof startWorkers>>;

/** Starts both Workers on a database of their own; `requests` counts round trips to it. */
export async function startWorkers(vars: Vars = {}, changes: Changes = {}) {
  const database = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const connection = { DATABASE_URL: database.url, DATABASE_FETCH_ENDPOINT: endpoint.url };
  const harness = await workersHarness({ ...connection, ...vars }, changes);
  const close = async () => {
    await harness.close();
    await endpoint.close();
    await database.drop();
  };
  try {
    const { url } = await harness.listen();
    const cron = () => harness.getWorker('keelson-dispatcher').scheduled({ cron: '*/15 * * * *' });
    return {
      url: url.href.replace(/\/$/, ''),
      harness,
      cron,
      database,
      connection,
      requests: endpoint.requests,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
