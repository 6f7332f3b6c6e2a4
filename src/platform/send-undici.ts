import { lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { setImmediate } from 'node:timers';
import { buildConnector, type Dispatcher, Pool } from 'undici';
import { isPublicAddress } from '../dispatcher/channels/address.ts';
import { type Answer, MAX_ANSWER_BYTES, type Send, SendError, toSendError } from '../dispatcher/channels/send.ts';

type Options = {
  allowPrivate: boolean;
  timeoutMs: number;
  /** Requests beyond it wait for one to end, within their time. */
  connectionsPerOrigin: number;
  lookup?: LookupFunction;
};

/** Origins with connections kept open at most; past it the one longest unused is given up. */
const MAX_ORIGINS = 500;
/** Parsed URLs remembered at most: parsing one costs as much as signing. */
const MAX_TARGETS = 10_000;
const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_MAX_MS = 30_000;

type Target = { origin: string; path: string };

/** `Send` for Node: keeps connections open, and checks the very address that it connects to. */
export function undiciSend(options: Options): { send: Send; close(): Promise<void> } {
  const { timeoutMs, connectionsPerOrigin } = options;
  const pools = new Map<string, Pool>();
  const targets = new Map<string, Target>();
  const connect = guardedConnector(options);

  function targetOf(url: string): Target {
    let target = targets.get(url);
    if (!target) {
      if (targets.size >= MAX_TARGETS) targets.clear();
      const { origin, pathname, search } = new URL(url);
      target = { origin, path: pathname + search };
      targets.set(url, target);
    }
    return target;
  }

  function poolOf(origin: string): Pool {
    const pool = pools.get(origin) ?? newPool(origin);
    // The map is in order of use.
    pools.delete(origin);
    pools.set(origin, pool);
    if (pools.size > MAX_ORIGINS) giveUpOldest();
    return pool;
  }

  function newPool(origin: string): Pool {
    return new Pool(origin, {
      connect,
      connections: connectionsPerOrigin,
      allowH2: false,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
      // The timer in `send` covers everything, and once.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  function giveUpOldest(): void {
    const [origin, pool] = pools.entries().next().value as [string, Pool];
    pools.delete(origin);
    // What is under way there still ends as it would.
    void pool.close();
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

      // The time is for the whole answer: a body that is still coming is no success.
      const timer = setTimeout(() => {
        answer = undefined;
        cut(new SendError('timed out'));
      }, timeoutMs);

      const request: Dispatcher.DispatchOptions = { path, method: 'POST', headers, body };
      poolOf(origin).dispatch(request, {
        onRequestStart: (started) => {
          controller = started;
          // Given up while it waited for a connection: it must not be sent any more.
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
          // undici frees the connection with setImmediate: after that, whatever is sent because of this can have it.
          process.nextTick(setImmediate, end);
        },
        onResponseError: (_, error) => end(error),
      });
    });

  const close = async () => {
    await Promise.all(Array.from(pools.values(), (pool) => pool.destroy()));
  };
  return { send, close };
}

function guardedConnector({ allowPrivate, timeoutMs, lookup = systemLookup }: Options): buildConnector.connector {
  const connect = buildConnector({
    timeout: timeoutMs,
    autoSelectFamily: true,
    allowH2: false,
    lookup: allowPrivate ? lookup : publicOnly(lookup),
  });
  if (allowPrivate) return connect;
  return (options, callback) => {
    // Node looks up names alone, so an address is checked here.
    if (isIP(options.hostname) === 0 || isPublicAddress(options.hostname)) connect(options, callback);
    else queueMicrotask(() => callback(new SendError('address not allowed'), null));
  };
}

/** What a name resolves to is what is connected to, so a name that changes its answers gains nothing. */
function publicOnly(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) =>
    lookup(hostname, options, (error, found, family) => {
      const addresses = typeof found === 'string' ? [found] : (found ?? []).map(({ address }) => address);
      const refused = !error && !addresses.every(isPublicAddress);
      callback(refused ? new SendError('address not allowed') : error, found, family);
    });
}
