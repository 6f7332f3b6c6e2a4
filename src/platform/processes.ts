import type { ChildProcess } from 'node:child_process';
import { kill } from 'node:process';
import type { Log } from '../deps.ts';
import { createScrapes } from './metrics-scrapes.ts';
import type { FromWorker, Listening, ToWorker } from './worker.ts';

/** How many failures in a row, of workers soon after their start, end the service; at least two per worker. */
const FAILURES_MAX = 5;
/** Milliseconds of listening after which a worker has started for good. */
const STEADY_MS = 10_000;
/** Milliseconds without a failure after which earlier ones are forgotten. */
const FORGET_MS = 60_000;
/** Milliseconds before a worker that failed is replaced. It doubles with each further failure, three times at most. */
const BACKOFF_MS = 500;

type Options = {
  count: number;
  /** Starts a worker, with a channel for messages. */
  fork: (slot: number) => ChildProcess;
  log: Log;
  /** Called once for each worker that exited without being stopped. */
  onDeath: (pid: number) => void;
};

/** `upAt`: since when it listens. `isBehind`: it does not read its messages as fast as they come. */
type Child = { slot: number; process: ChildProcess; pid: number; upAt: number | undefined; isBehind: boolean };

/** Keeps `count` workers alive. Replaces a dead one at once, or after a delay if it failed soon after its start. */
export function superviseWorkers({ count, fork, log, onDeath }: Options) {
  const children = new Map<number, Child>();
  const scrapes = createScrapes();
  const listening = Promise.withResolvers<Listening>();
  const broken = Promise.withResolvers<never>();
  const gone = Promise.withResolvers<boolean>();
  let complete = false;
  let stopping = false;
  let clean = true;
  let failures = 0;
  let failedAt = 0;
  // They may have no handler.
  for (const { promise } of [listening, broken]) promise.catch(() => {});

  function start(slot: number): void {
    if (stopping) return;
    const process = fork(slot);
    const child = { slot, process, pid: process.pid ?? 0, upAt: undefined, isBehind: false };
    children.set(slot, child);
    log.info('worker started', { worker: child.pid });
    process.on('message', (message) => onMessage(child, message as FromWorker));
    process.on('exit', (code, signal) => ended(child, code, signal));
    // A worker that could not be started has no exit event.
    process.on('error', (error: NodeJS.ErrnoException) => process.pid ?? ended(child, null, error.code ?? error.name));
  }

  function onMessage(child: Child, message: FromWorker): void {
    if ('listening' in message) {
      child.upAt = performance.now();
      complete ||= children.size === count && [...children.values()].every(isUp);
      if (complete) listening.resolve(message.listening);
    } else if ('scraped' in message) {
      scrapes.answered(child.pid, message.scraped, message.metrics);
    } else {
      // Messages for a worker that does not read them would queue here without a limit.
      for (const other of children.values()) if (other !== child && !other.isBehind) send(other, message);
    }
  }

  function ended(child: Child, code: number | null, signal: string | null): void {
    children.delete(child.slot);
    // Its metrics are kept by the code that `onDeath` calls.
    scrapes.exited(child.pid);
    if (stopping) {
      // These signals kill a worker that does not handle them yet.
      clean &&= code === 0 || (!isUp(child) && (signal === 'SIGTERM' || signal === 'SIGINT'));
      if (children.size === 0) gone.resolve(clean);
      return;
    }
    log.error('worker died', { worker: child.pid, code, signal });
    onDeath(child.pid);
    if (!hasFailed(child, code, signal)) {
      failures = 0;
      start(child.slot);
    } else if (!complete) listening.reject(new Error('a worker failed at its start'));
    else restartLater(child.slot);
  }

  function restartLater(slot: number): void {
    if (performance.now() - failedAt > FORGET_MS) failures = 0;
    failedAt = performance.now();
    failures++;
    // All workers may fail at once without ending the service.
    if (failures === Math.max(FAILURES_MAX, 2 * count)) {
      broken.reject(new Error(`${failures} workers in a row failed soon after their start`));
    } else setTimeout(start, BACKOFF_MS * 2 ** Math.min(failures - 1, 3), slot);
  }

  return {
    start: () => {
      for (let slot = 0; slot < count; slot++) start(slot);
    },
    /** Resolves with the URL once all workers listen. Rejects if one fails before. */
    listening: listening.promise,
    /** Rejects once too many workers have failed. */
    broken: broken.promise,
    /** Stops all workers in order. Resolves when all have exited, with whether each exited cleanly. */
    stop: (): Promise<boolean> => {
      stopping = true;
      if (children.size === 0) gone.resolve(clean);
      for (const child of children.values()) signal(child, 'SIGTERM');
      return gone.promise;
    },
    /** Kills all workers. */
    kill: (): void => {
      stopping = true;
      for (const child of children.values()) signal(child, 'SIGKILL');
    },
    /** Returns the metrics of each worker that answers within `ms`. Only one reports those that are the same in all. */
    scrape: (ms: number) => scrapes.scrape([...children.values()].filter(isUp), send, ms),
  };
}

const isUp = ({ upAt }: Child) => upAt !== undefined;

/** Signals that end a worker from outside. It may have been healthy. Deno may report one as an exit code above 128. */
const EXTERNAL_SIGNALS = ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP'];

/** Whether a worker ended by a defect soon after its start, or before it listened. */
function hasFailed({ upAt }: Child, code: number | null, signal: string | null): boolean {
  if (upAt === undefined) return true;
  const isDefect = signal === null ? code !== 0 && (code ?? 0) < 128 : !EXTERNAL_SIGNALS.includes(signal);
  return isDefect && performance.now() - upAt < STEADY_MS;
}

/** Signals a child by its process id: on Deno, a child signaled by its own `kill` has no exit code. */
function signal({ pid }: Child, name: NodeJS.Signals): void {
  try {
    // A child that could not be started has no id, and 0 would be this process's group.
    if (pid > 0) kill(pid, name);
  } catch (error) {
    // It is gone: its exit event follows.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Sends a message that may be lost. Other code notices when the other side is gone. */
function send(child: Child, message: ToWorker): void {
  if (!child.process.connected) return;
  child.isBehind = !child.process.send(message, undefined, undefined, () => {
    child.isBehind = false;
  });
}
