import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { app } from '../app.ts';
import { createSignInLink } from '../console/sign-in-link.ts';
import { scopesOf } from '../http/operation.ts';
import { openNeon } from '../platform/db-neon.ts';
import { openPgliteClient } from '../platform/db-pglite.ts';
import { httpUrl } from '../platform/listen.ts';
import { writeFormatted } from '../platform/log-format.ts';
import { pgliteBackend, startNeonEndpoint } from '../platform/neon-endpoint.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { type Config, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { PROJECT } from './generate.ts';
import { signToken } from './sign-token.ts';
import { untilReady } from './until-ready.ts';
import { printWelcome } from './welcome.ts';
import { QUIET, readWorkerConfig, WRANGLER } from './wrangler.ts';

/** Seconds between cron triggers: as in wrangler.toml, unless DEV_CRON_S is set. */
const CRON_S = Number(process.env.DEV_CRON_S ?? 900);
const CRON_PATH = '/cdn-cgi/local/scheduled';
const DIRECTORY = join(process.cwd(), '.data/edge');
const START_MS = 60_000;
/** Milliseconds after which child processes are killed. */
const STOP_MS = 5000;

/** Runs both Workers in workerd, on an embedded database behind Neon's protocol. Needs no account and no network. */
async function main(): Promise<number> {
  // Of the two files, the Workers' own takes precedence.
  const workersOwn = readDotenv('.dev.vars');
  readDotenv();
  const { APP_ENV: _, DATABASE_URL: __, ...own } = process.env;
  const config = parseConfig(withDevelopmentSecrets({ ...own, DATABASE_URL: 'postgres://edge:edge@localhost/edge' }));
  for (const warning of config.warnings) process.stderr.write(`${warning}\n`);
  mkdirSync(DIRECTORY, { recursive: true });
  const database = await openPgliteClient(join(DIRECTORY, 'db'));
  const backend = { ...pgliteBackend(database.client), close: database.close };
  const endpoint = await startNeonEndpoint({ backend });
  const signaled = new Promise<'signaled'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => resolve('signaled'));
  });

  const writeLine = await writeFormatted((line) => void process.stdout.write(line), config.logFormat);
  const wrangler = startWrangler(config, await workerFiles(config, endpoint.url, workersOwn), writeLine);
  const ended = once(wrangler, 'close').then(() => 'ended' as const);
  const url = httpUrl(config.host, config.port);
  const ready = untilReady(url, { withinMs: START_MS, everyMs: 100 }).then((why) => why ?? ('ready' as const));
  let outcome: string = await Promise.race([ready, ended, signaled]);
  if (outcome === 'ready') {
    const signIn = await signInLink(config, url, endpoint.url);
    await printWelcome(config, url, scopesOf(app.routes), signIn);
    process.stdout.write(`The cron trigger fires every ${CRON_S} s, and by hand:\n\ncurl '${url}${CRON_PATH}'\n\n`);
    const ticks = setInterval(() => void fetch(url + CRON_PATH).catch(() => {}), CRON_S * 1000);
    outcome = await Promise.race([ended, signaled]);
    clearInterval(ticks);
  } else if (outcome !== 'ended' && outcome !== 'signaled') process.stderr.write(`${url}/ready says ${outcome}\n`);
  await stop(wrangler, ended);
  await endpoint.close();
  return outcome === 'signaled' ? 0 : 1;
}

/** Creates the console's sign-in link, stored where the Worker looks for it. Returns undefined with a JWKS_URL. */
async function signInLink({ jwt, ...config }: Config, url: string, fetchEndpoint: string): Promise<string | undefined> {
  const { db } = openNeon({ url: config.databaseUrl, fetchEndpoint });
  const secrets = createSecretBox(config.secretsKey);
  const developmentToken = jwt.secret ? () => signToken(jwt, 'developer', scopesOf(app.routes)) : undefined;
  return createSignInLink({ db, secrets, developmentToken }, url);
}

/** Writes a file for each Worker: on the command line, wrangler takes variables only for the first one. */
async function workerFiles(config: Config, endpoint: string, own: NodeJS.Dict<string>): Promise<string[]> {
  const shared = {
    ...Object.fromEntries(Object.keys(own).map((name) => [name, process.env[name]])),
    APP_ENV: 'development',
    LOG_LEVEL: config.logLevel,
    DATABASE_URL: config.databaseUrl,
    DATABASE_FETCH_ENDPOINT: endpoint,
    SECRETS_KEY: config.secretsKey,
    SECRETS_KEYS_OLD: config.secretsKeysOld.join(),
  };
  const { jwt } = config;
  const api = await readWorkerConfig('wrangler.toml');
  // wrangler bundles the sources itself at each change, for stack traces that name them.
  Object.assign(api, { main: join(PROJECT, 'src/entry/workers.ts'), no_bundle: false, find_additional_modules: false });
  Object.assign(api, { build: { command: 'npm run --silent build:edge', watch_dir: join(PROJECT, 'src') } });
  Object.assign(api.vars, shared, jwt.secret ? { JWT_SECRET: jwt.secret } : { JWKS_URL: jwt.jwksUrl });
  const dispatcher = await readWorkerConfig('worker-cron/wrangler.toml');
  Object.assign(dispatcher.vars, shared);
  const front = {
    name: 'front',
    main: join(import.meta.dirname, 'dev-edge-front.ts'),
    compatibility_date: api.compatibility_date,
    services: [
      { binding: 'API', service: api.name },
      { binding: 'DISPATCHER', service: dispatcher.name },
    ],
  };
  return [front, api, dispatcher].map((worker) => {
    const file = join(DIRECTORY, `${worker.name}.json`);
    writeFileSync(file, JSON.stringify(worker), { mode: 0o600 });
    return file;
  });
}

function startWrangler({ host, port }: Config, files: string[], writeLine: (line: string) => void): ChildProcess {
  const where = ['--ip', host, '--port', String(port), '--persist-to', join(DIRECTORY, 'state')];
  const child = spawn(process.execPath, [WRANGLER, 'dev', ...files.flatMap((file) => ['-c', file]), ...where], {
    cwd: PROJECT,
    env: { ...process.env, ...QUIET, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
    // In a process group of its own, so that Ctrl-C reaches only this process, which then stops the others in order.
    detached: true,
  });
  // wrangler prints secrets, so only the Workers' log lines are passed on.
  createInterface({ input: child.stdout as Readable }).on('line', (line) => {
    const start = line.indexOf('{"time":');
    if (start >= 0) writeLine(`${line.slice(start)}\n`);
  });
  return child;
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  const group = -(child.pid as number);
  const force = setTimeout(trySignal, STOP_MS, group, 'SIGKILL');
  trySignal(group, 'SIGTERM');
  await ended;
  clearTimeout(force);
  // Kill what is left, which takes a moment.
  for (let tries = 0; trySignal(group, 'SIGKILL') && tries < 100; tries++) await sleep(10);
}

/** Sends `signal`, and returns whether the process exists. */
function trySignal(group: number, signal: string): boolean {
  try {
    return process.kill(group, signal);
  } catch {
    return false;
  }
}

try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
