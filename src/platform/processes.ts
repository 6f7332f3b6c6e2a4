import type { ChildProcess } from 'node:child_process';
import { kill } from 'node:process';
import type { Log } from '../deps.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** Replacements that may end one after the other before they listen. */
const FAILURES_MAX = 5;
/** Milliseconds before the second try to replace a worker; each further one waits twice as long. */
const BACKOFF_MS = 500;

type Options = {
  count: number;
  /** Starts a worker, with a channel for messages. */
  fork: (slot: number) => ChildProcess;
  log: Log;
  /** Called once for each worker that is gone, unless all were told to stop. */
  onDeath: (pid: number) => void;
};

/** What workers told by process id, and how many said nothing. */
export type Scraped = { answers: Map<number, object[]>; silent: number };
type Child = { slot: number; process: ChildProcess; pid: number; up: boolean };
type Question = { awaited: Set<Child>; answers: Map<number, object[]>; done: () => void };

/** Keeps `count` workers alive: one that dies is replaced at once, one that died before it listened after a while. */
export function keepProcesses({ count, fork, log, onDeath }: Options) {
  const children = new Map<number, Child>();
  const questions = new Map<number, Question>();
  const listening = Promise.withResolvers<string>();
  const broken = Promise.withResolvers<never>();
  const gone = Promise.withResolvers<boolean>();
  let complete = false;
  let stopping = false;
  let clean = true;
  let failures = 0;
  let asked = 0;
  /** Who was first to answer the last scrape, and so does answer. */
  let quickest: number | undefined;
  // Nobody need be waiting for them.
  for (const { promise } of [listening, broken]) promise.catch(() => {});

  function start(slot: number): void {
    if (stopping) return;
    const process = fork(slot);
    const child = { slot, process, pid: process.pid ?? 0, up: false };
    children.set(slot, child);
    log.info('worker started', { worker: child.pid });
    process.on('message', (message) => hear(child, message as FromWorker));
    process.on('exit', (code, signal) => ended(child, code, signal));
    // One that could not be started at all has no exit.
    process.on('error', (error: NodeJS.ErrnoException) => process.pid ?? ended(child, null, error.code ?? error.name));
  }

  function hear(child: Child, message: FromWorker): void {
    if ('listening' in message) {
      child.up = true;
      failures = 0;
      complete ||= children.size === count && [...children.values()].every(({ up }) => up);
      if (complete) listening.resolve(message.listening);
    } else if ('scraped' in message) {
      const question = questions.get(message.scraped);
      question?.answers.set(child.pid, message.metrics);
      settle(child, question);
    } else for (const other of children.values()) if (other !== child) send(other, message);
  }

  function ended(child: Child, code: number | null, signal: string | null): void {
    children.delete(child.slot);
    for (const question of questions.values()) settle(child, question);
    if (stopping) {
      // One that had not got as far as to hear signals is ended by them.
      clean &&= code === 0 || (!child.up && (signal === 'SIGTERM' || signal === 'SIGINT'));
      if (children.size === 0) gone.resolve(clean);
      return;
    }
    log.error('worker died', { worker: child.pid, code, signal });
    onDeath(child.pid);
    if (child.up) start(child.slot);
    else if (!complete) listening.reject(new Error('a worker ended before it listened'));
    else startLater(child.slot);
  }

  function startLater(slot: number): void {
    failures++;
    if (failures === FAILURES_MAX) broken.reject(new Error(`${failures} workers in a row ended before they listened`));
    else setTimeout(start, BACKOFF_MS * 2 ** (failures - 1), slot);
  }

  function settle(child: Child, question: Question | undefined): void {
    if (question?.awaited.delete(child) && question.awaited.size === 0) question.done();
  }

  return {
    start: () => {
      for (let slot = 0; slot < count; slot++) start(slot);
    },
    /** Resolves with the URL once all listen for the first time; rejects when one of them ends before. */
    listening: listening.promise,
    /** Rejects once replacing has failed too often. */
    broken: broken.promise,
    /** Tells all to stop in order. Resolves when the last is gone, with whether each ended as it should. */
    stop: (): Promise<boolean> => {
      stopping = true;
      if (children.size === 0) gone.resolve(clean);
      for (const child of children.values()) signal(child, 'SIGTERM');
      return gone.promise;
    },
    /** Ends all at once. */
    kill: (): void => {
      stopping = true;
      for (const child of children.values()) signal(child, 'SIGKILL');
    },
    /** The metrics of each worker that answers within `ms`, by process id; what is the same in all is one's to tell. */
    scrape: async (ms: number): Promise<Scraped> => {
      const up = [...children.values()].filter((child) => child.up);
      const answers = new Map<number, object[]>();
      const id = asked++;
      const teller = up.find(({ pid }) => pid === quickest) ?? up[0];
      const { promise, resolve } = Promise.withResolvers<void>();
      questions.set(id, { awaited: new Set(up), answers, done: resolve });
      for (const child of up) send(child, { scrape: id, queue: child === teller });
      const limit = setTimeout(resolve, up.length > 0 ? ms : 0);
      await promise;
      clearTimeout(limit);
      questions.delete(id);
      quickest = answers.keys().next().value;
      return { answers, silent: up.length - answers.size };
    },
  };
}

/** By its id: on Deno, a child that was sent a signal by its own `kill` has no exit code. */
function signal({ pid }: Child, name: NodeJS.Signals): void {
  try {
    // Of one that could not be started there is no id, and 0 would be this process with all its group.
    if (pid > 0) kill(pid, name);
  } catch (error) {
    // Gone, and its exit is about to be told.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Sends what may be lost: that the other side is gone is told otherwise. */
function send({ process }: Child, message: ToWorker): void {
  if (process.connected) process.send(message, undefined, undefined, () => {});
}
