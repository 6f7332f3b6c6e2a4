import { setImmediate } from 'node:timers';

let waiting: (() => void)[] = [];

function flush(): void {
  const calls = waiting;
  waiting = [];
  for (const call of calls) call();
}

/**
 * Calls `call` once the event loop has looked at all sockets. What is passed to it in one turn of the loop is called in a row,
 * so that what follows from all of it is done once.
 */
export function afterPoll(call: () => void): void {
  if (waiting.push(call) === 1) setImmediate(flush);
}
