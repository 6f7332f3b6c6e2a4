import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SECRET } from './deps.ts';
import { COMMANDS } from './runtimes.ts';
import { waiters } from './until.ts';

export type LogLine = Record<string, unknown> & { level: string; msg: string };

/** The service as a separate process, in a folder of its own. */
export type Service = {
  url: string;
  pid: number;
  process: ChildProcess;
  lines: LogLine[];
  /** Resolves with the first matching line, past or future; rejects when the process ends without one. */
  line(matches: (line: LogLine) => boolean): Promise<LogLine>;
  /** Sends `signal` and returns the exit code, or the signal that ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | string>;
  exited: Promise<number | string>;
  output(): string;
};

/** The log messages of a graceful stop, in order; on Postgres, 'doorbell closed' follows 'pruning ended'. */
export const STOP_STEPS = [
  'stopping',
  'not ready',
  'requests finished, listener closed',
  'dispatcher stopped',
  'pruning ended',
  'metrics listener closed',
  'database closed',
];

/** The command that the service prints for pasting. A shell joins the lines that end in a backslash. */
export const PRINTED_CURL = /^curl -i [\s\S]*?\n(?=\n)/m;

/** Returns the token in what was printed. */
export const tokenIn = (printed: string) => /Authorization: Bearer (\S+)" \\$/m.exec(printed)?.[1] as string;

/**
 * Starts the service as npm start does, or with `command`, without waiting for it to listen. Ports are free ones and
 * secrets are set, unless `env` says otherwise. With `unread`, nothing is spent on reading its output: there are no
 * lines and no output. `dotenv` is the content of its folder's `.env`.
 */
export function spawnService(
  env: Record<string, string> = {},
  command = COMMANDS.node,
  { unread = false, dotenv = '' } = {},
): Service {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-service-'));
  if (dotenv) writeFileSync(join(directory, '.env'), dotenv);
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: directory,
    env: { PATH: process.env.PATH, PORT: '0', METRICS_ADDR: '127.0.0.1:0', JWT_SECRET: SECRET, ...env },
    stdio: unread ? 'ignore' : ['pipe', 'pipe', 'pipe'],
  });
  const lines: LogLine[] = [];
  const { until, changed } = waiters();
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
  }
  let rest = '';
  child.stdout?.on('data', (chunk) => {
    const complete = (rest + chunk).split('\n');
    // A kill may cut the last one short.
    rest = complete.pop() as string;
    for (const text of complete) if (text.startsWith('{')) lines.push(JSON.parse(text));
    changed();
  });
  const exited = once(child, 'close').then(([code, signal]) => {
    rmSync(directory, { recursive: true, force: true });
    changed();
    return (code ?? signal) as number | string;
  });

  const service: Service = {
    url: '',
    pid: child.pid as number,
    process: child,
    lines,
    exited,
    output: () => output,
    line: async (matches) => {
      const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
      const found = await until(() => lines.find(matches) ?? (hasEnded() && 'ended'));
      if (found === 'ended') throw new Error(`the service ended without that line:\n${output}`);
      return found;
    },
    stop: (signal = 'SIGTERM') => {
      child.kill(signal);
      return exited;
    },
  };
  return service;
}

/** Starts the Node entry and waits until it listens. */
export async function startService(env?: Record<string, string>, command?: string[]): Promise<Service> {
  const service = spawnService(env, command);
  service.url = (await service.line((line) => line.msg === 'listening')).url as string;
  return service;
}

/** Polls /ready until it answers 200: it gives the database one second, and a busy machine may take longer. */
export async function untilReady(url: string): Promise<void> {
  for (let status = 0; status !== 200; ) {
    const answer = await fetch(new URL('/ready', url));
    await answer.arrayBuffer();
    status = answer.status;
  }
}
