import { isIPv6 } from 'node:net';
import { BoundedMap } from '../bounded-map.ts';
import { type Send, SendError, toSendError } from '../dispatcher/channels/send.ts';
import { afterPoll } from './after-poll.ts';
import { guardedConnector } from './guarded-connector.ts';
import type { Exchange } from './http-connection.ts';
import { createHttpPool, type Origin } from './http-pool.ts';

type Options = {
  allowPrivate: boolean;
  timeoutMs: number;
  /** For tests: name servers in place of the system's. */
  servers?: string[];
};

/** How many parsed URLs are cached: parsing one costs as much as signing. */
const MAX_TARGETS = 10_000;

/** `head` is what every request to a URL begins with. */
type Target = { origin: Origin; head: string };

/** `Send` for Node, Deno and Bun. Keeps connections open, and checks the address that it connects to. */
export function socketSend(options: Options): { send: Send; close(): void } {
  const { allowPrivate, timeoutMs } = options;
  const pool = createHttpPool(guardedConnector(options));
  const targets = new BoundedMap<string, Target>(MAX_TARGETS);
  const origins = new BoundedMap<string, Origin>(MAX_TARGETS);

  function targetOf(url: string): Target {
    let target = targets.get(url);
    if (!target) {
      const parsed = new URL(url);
      // Plain HTTP is allowed where private addresses are. An endpoint created there is refused elsewhere.
      if (!allowPrivate && parsed.protocol !== 'https:') throw new SendError('address not allowed');
      target = { origin: originOf(parsed), head: headOf(parsed) };
      targets.set(url, target);
    }
    return target;
  }

  function originOf({ origin, protocol, host, hostname, port }: URL): Origin {
    let found = origins.get(origin);
    if (!found) {
      const inBrackets = hostname.slice(1, -1);
      found = { protocol, host, hostname: isIPv6(inBrackets) ? inBrackets : hostname, port, idle: [] };
      origins.set(origin, found);
    }
    return found;
  }

  const send: Send = ({ url, headers, body }) =>
    new Promise((resolve, reject) => {
      const { origin, head } = targetOf(url);
      const text = textOf(head, headers, body);
      const exchange: Exchange = { text, answer: undefined, connection: undefined, over: false, end };
      // The time limit includes the body: a response whose body is still arriving is not a success.
      const timer = setTimeout(() => {
        exchange.answer = undefined;
        const error = new SendError('timed out');
        exchange.connection?.destroy(error);
        end(error);
      }, timeoutMs);

      function end(error?: unknown): void {
        if (exchange.over) return;
        exchange.over = true;
        clearTimeout(timer);
        const { answer } = exchange;
        if (answer) afterPoll(() => resolve(answer));
        else reject(toSendError(error));
      }

      pool.start(origin, exchange);
    });

  return { send, close: pool.close };
}

const headOf = ({ pathname, search, host }: URL) =>
  `POST ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;

function textOf(head: string, headers: Record<string, string>, body: string): string {
  let text = head;
  for (const name in headers) text += `${name}: ${headers[name]}\r\n`;
  return `${text}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}
