import { setImmediate } from 'node:timers';

let waiting: (() => void)[] = [];

function callAll(calls: (() => void)[]): void {
  for (const call of calls) call();
}

function flush(): void {
  const calls = waiting;
  waiting = [];
  setImmediate(callAll, calls);
}

/**
 * Calls `call` once the event loop has looked at all sockets again. What is passed to it in one turn of the loop is called in a
 * row, so that what follows from all of it is done once.
 */
export function nextTurn(call: () => void): void {
  if (waiting.push(call) === 1) setImmediate(flush);
}
