import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort, NOT_AS_ROOT } from './postgres-server.ts';

/** Why PgBouncer is not available here; undefined if it is. */
export const noPgbouncer = spawnSync('pgbouncer', ['--version']).error
  ? 'pgbouncer is not installed (apt-get install pgbouncer)'
  : undefined;

/** Starts a PgBouncer in front of a database, as an operator would set one up; `url` connects through it. */
export async function startPgbouncer(target: string, mode: 'session' | 'transaction', poolSize = 50) {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-pgbouncer-'));
  const { hostname, port: serverPort, pathname, username } = new URL(target);
  const port = await freePort();
  const file = join(directory, 'pgbouncer.ini');
  const settings = [
    '[databases]',
    `* = host=${hostname} port=${serverPort} user=${username}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    `pool_mode = ${mode}`,
    'max_client_conn = 200',
    `default_pool_size = ${poolSize}`,
  ];
  writeFileSync(file, `${settings.join('\n')}\n`);
  chmodSync(directory, 0o755);
  const child = spawn('pgbouncer', ['-q', file], { stdio: ['ignore', 'ignore', 'pipe'], ...NOT_AS_ROOT });
  let output = '';
  child.stderr.on('data', (chunk) => {
    output += chunk;
  });
  const url = `postgres://${username}@127.0.0.1:${port}${pathname}`;
  await untilItAnswers(url, child, () => output);
  return {
    url,
    async stop() {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function untilItAnswers(url: string, child: ChildProcess, output: () => string): Promise<void> {
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    const failure = await client.connect().catch((error) => error);
    await client.end().catch(() => {});
    if (!(failure instanceof Error)) return;
    if (child.exitCode !== null) throw new Error(`pgbouncer ended: ${output()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
