// npm run bench:runtimes: every runtime's conformance, start-up, throughput and memory, as a table for README.md. Needs wrk.
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from '../support/databases.ts';
import { SECRET } from '../support/deps.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { residentMib } from '../support/processes.ts';
import { bundle, serveBundle } from '../support/raw-workerd.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';
import { median } from './figures.ts';
import { BODY, PATH, READ } from './measured.ts';

type Running = { url: string; pid: number; stop(): Promise<unknown> };
type Row = { runtime: string; tests: string; startMs: number; perSecond: number; mib: number };

const STARTS = 5;
const { values } = parseArgs({ options: { seconds: { type: 'string', default: '5' } } });

const postgres = await startPostgres();
const built = await bundle();
try {
  const database = await createDatabase();
  const neon = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const env = { RATE_LIMIT_MAX: '1000000000', LOG_LEVEL: 'error', DISPATCH_ENABLED: 'false' };
  const shared = { ...env, JWT_SECRET: SECRET, SECRETS_KEY: Buffer.alloc(32, 7).toString('base64') };

  const starts: Record<string, () => Promise<Running>> = {
    workers: () => serveBundle(built, { ...shared, DATABASE_URL: database.url, DATABASE_FETCH_ENDPOINT: neon.url }),
  };
  for (const [name, command] of Object.entries(COMMANDS)) {
    // The startup line is logged at level info.
    starts[name] = () => startService({ ...shared, LOG_LEVEL: 'info', DATABASE_URL: database.url }, command);
  }

  const rows: Row[] = [];
  for (const [runtime, start] of Object.entries(starts)) {
    const tests = await conformanceOf(runtime);
    const times: number[] = [];
    for (let i = 0; i < STARTS; i++) {
      const began = performance.now();
      const running = await start();
      await (await fetch(`${running.url}/health`)).text();
      times.push(performance.now() - began);
      await running.stop();
    }
    const running = await start();
    const { perSecond, mib } = await load(running);
    await running.stop();
    rows.push({ runtime, tests, startMs: median(times), perSecond, mib });
  }
  console.log(`| runtime | conformance | start-up | ${READ} | memory under load |`);
  console.log('| --- | --- | --- | --- | --- |');
  for (const { runtime, tests, startMs, perSecond, mib } of rows) {
    console.log(
      `| ${runtime} | ${tests} | ${startMs.toFixed(0)} ms | ${perSecond.toFixed(0)} req/s | ${mib.toFixed(0)} MiB |`,
    );
  }
  await neon.close();
  await database.drop();
} finally {
  built.remove();
  await postgres.stop();
}

/** How many of the suite's tests pass, out of how many. */
async function conformanceOf(runtime: string): Promise<string> {
  const file = join(import.meta.dirname, `../conformance/${runtime}.test.ts`);
  const child = spawn(process.execPath, ['--test', '--test-reporter=tap', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await new Promise((resolve) => child.on('close', resolve));
  const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(output)?.[1]);
  return `${count('pass')} of ${count('tests')}`;
}

/** Lets wrk's clients request one row repeatedly, first to warm up. */
async function load({ url, pid }: Running): Promise<{ perSecond: number; mib: number }> {
  const body = BODY.replace('{unique}', crypto.randomUUID());
  const made = await fetch(url + PATH, { method: 'POST', headers: headers(), body });
  const { id } = (await made.json()) as { id: string };
  const wrk = async (seconds: number) => {
    const header = `Authorization: ${headers().Authorization}`;
    const args = ['-t1', '-c50', `-d${seconds}s`, '-H', header, `${url}${PATH}/${id}`];
    const { stdout } = await promisify(execFile)('wrk', args);
    if (/Non-2xx/.test(stdout)) throw new Error(stdout);
    return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
  };
  await wrk(2);
  return { perSecond: await wrk(Number(values.seconds)), mib: residentMib(pid) };
}
