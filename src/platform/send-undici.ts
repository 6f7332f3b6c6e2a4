import { setImmediate } from 'node:timers';
import type { Dispatcher } from 'undici/index.js';
import { BoundedMap } from '../bounded-map.ts';
import { type Answer, MAX_ANSWER_BYTES, type Send, SendError, toSendError } from '../dispatcher/channels/send.ts';
import { guardedConnector } from './guarded-connector.ts';
import { createPools } from './http-pools.ts';

type Options = {
  allowPrivate: boolean;
  timeoutMs: number;
  connectionsPerOrigin: number;
  /** For tests: name servers in place of the system's. */
  servers?: string[];
};

/** How many parsed URLs are cached: parsing one costs as much as signing. */
const MAX_TARGETS = 10_000;

type Target = { origin: string; path: string };

/** `Send` for Node, Deno and Bun. Keeps connections open, and checks the address that it connects to. */
export function undiciSend(options: Options): { send: Send; close(): Promise<void> } {
  const { allowPrivate, timeoutMs, connectionsPerOrigin } = options;
  const pools = createPools({ connect: guardedConnector(options), connectionsPerOrigin });
  const targets = new BoundedMap<string, Target>(MAX_TARGETS);
  const endTogether = coalesced();

  function targetOf(url: string): Target {
    let target = targets.get(url);
    if (!target) {
      const { protocol, origin, pathname, search } = new URL(url);
      // Plain HTTP is allowed where private addresses are. An endpoint created there is refused elsewhere.
      if (!allowPrivate && protocol !== 'https:') throw new SendError('address not allowed');
      target = { origin, path: pathname + search };
      targets.set(url, target);
    }
    return target;
  }

  const send: Send = ({ url, headers, body }) =>
    new Promise((resolve, reject) => {
      const { origin, path } = targetOf(url);
      let controller: Dispatcher.DispatchController | undefined;
      let answer: Answer | undefined;
      let received = 0;
      let over = false;

      function end(error?: unknown): void {
        if (over) return;
        over = true;
        clearTimeout(timer);
        if (answer) resolve(answer);
        else reject(toSendError(error));
      }

      function cut(error: Error): void {
        end(error);
        controller?.abort(error);
      }

      // The time limit includes the body: a response whose body is still arriving is not a success.
      const timer = setTimeout(() => {
        answer = undefined;
        cut(new SendError('timed out'));
      }, timeoutMs);

      const request: Dispatcher.DispatchOptions = { path, method: 'POST', headers, body };
      pools.of(origin).dispatch(request, {
        onRequestStart: (started) => {
          controller = started;
          // Timed out while it waited for a connection: it must not be sent any more.
          if (over) started.abort(new SendError('timed out'));
        },
        onResponseStart: (_, status, { 'retry-after': retryAfter }) => {
          if (status < 200) return;
          answer = { status, retryAfter: (Array.isArray(retryAfter) ? retryAfter[0] : retryAfter) ?? null };
        },
        onResponseData: (_, chunk) => {
          received += chunk.length;
          if (received > MAX_ANSWER_BYTES) cut(new SendError('answer too long'));
        },
        onResponseEnd: () => {
          clearTimeout(timer);
          endTogether(end);
        },
        onResponseError: (_, error) => end(error),
      });
    });

  return { send, close: pools.close };
}

/**
 * Returns a function that calls what it is given once undici has freed the connection, which it does by setImmediate: the
 * next request can use it. All that end in one turn of the loop are called in a row, so that what follows is done once.
 */
function coalesced(): (end: () => void) => void {
  let ended: (() => void)[] = [];
  const callAll = (ends: (() => void)[]) => {
    for (const end of ends) end();
  };
  const flush = () => {
    const ends = ended;
    ended = [];
    // Connections of responses that came later in the turn are freed after this.
    setImmediate(callAll, ends);
  };
  return (end) => {
    if (ended.push(end) === 1) process.nextTick(setImmediate, flush);
  };
}
