import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { waiters } from './until.ts';

/** A running command. */
export type Command = {
  process: ChildProcess;
  /** Everything it has written to stdout, and to stderr. */
  output(): string;
  errors(): string;
  /** Resolves with the first match in stdout, past or future; rejects when the command ends without one. */
  printed(what: RegExp): Promise<RegExpExecArray>;
  /** Resolves with its exit code, or the signal that ended it, once all that it wrote has been read. */
  ended: Promise<number | NodeJS.Signals>;
};

type Options = { cwd: string; env?: Record<string, string> };

/** Starts a command with PATH and `env` as its entire environment. */
export function startCommand([file, ...args]: string[], { cwd, env = {} }: Options): Command {
  const child = spawn(file as string, args, {
    cwd,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { until, changed } = waiters();
  let output = '';
  let errors = '';
  let hasEnded = false;
  child.stdout.on('data', (chunk) => {
    output += chunk;
    changed();
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = once(child, 'close').then(([code, signal]) => {
    hasEnded = true;
    changed();
    return (code ?? signal) as number | NodeJS.Signals;
  });
  return {
    process: child,
    output: () => output,
    errors: () => errors,
    printed: async (what) => {
      const found = await until(() => what.exec(output) ?? (hasEnded && 'ended'));
      if (found === 'ended') throw new Error(`the command ended without ${what}:\n${output}${errors}`);
      return found;
    },
    ended,
  };
}
