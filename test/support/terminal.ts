import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { ownDirectory } from './directories.ts';
import { treeOf } from './processes.ts';
import { waiters } from './until.ts';

export const COLUMNS = 80;

/** A command in a terminal of its own. */
export type Terminal = {
  process: ChildProcess;
  /** Everything written to it, without the carriage returns before line feeds. */
  screen(): string;
  /** Resolves with the first match of the screen; rejects when the command ends without one. */
  printed(what: RegExp): Promise<RegExpExecArray>;
  type(text: string): void;
  /** Resolves when the command has ended. */
  ended: Promise<unknown>;
};

/** Starts a command in an 80-column pseudo-terminal with util-linux's `script`; skips the test if that is missing. */
export function inTerminal(t: TestContext, command: string[], env: Record<string, string> = {}): Terminal | undefined {
  if (process.platform !== 'linux' || spawnSync('script', ['--version']).error) {
    t.skip("util-linux's script does not run here");
    return undefined;
  }
  const quoted = command.map((part) => `'${part.replaceAll("'", `'\\''`)}'`).join(' ');
  const child = spawn('script', ['-qec', `stty cols ${COLUMNS} rows 24 && exec ${quoted}`, '/dev/null'], {
    cwd: ownDirectory(t, 'terminal'),
    env: {
      PATH: process.env.PATH,
      TERM: 'xterm-256color',
      SHELL: existsSync('/bin/bash') ? '/bin/bash' : '/bin/sh',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const { until, changed } = waiters();
  let screen = '';
  let hasEnded = false;
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    screen += chunk;
    changed();
  });
  const ended = once(child, 'close').then(() => {
    hasEnded = true;
    changed();
  });
  t.after(async () => {
    for (const pid of treeOf(child.pid as number).reverse()) process.kill(pid, 'SIGKILL');
    await ended;
  });
  const seen = () => screen.replaceAll('\r\n', '\n');
  return {
    process: child,
    screen: seen,
    printed: async (what) => {
      const found = await until(() => what.exec(seen()) ?? (hasEnded && 'ended'));
      if (found === 'ended') throw new Error(`the command ended without ${what}:\n${screen}`);
      return found;
    },
    type: (text) => void child.stdin?.write(text),
    ended,
  };
}
