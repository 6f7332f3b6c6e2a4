import type { Socket } from 'node:net';
import { type Answer, MAX_ANSWER_BYTES, SendError } from '../dispatcher/channels/send.ts';
import { createResponseParser, type ResponseHead } from './http-response.ts';

/** Of a response as it arrives, with interim responses, and what surrounds the chunks of its body. */
const MAX_RESPONSE_BYTES = 64 * 1024;

/** A request, and what became of it. */
export type Exchange = {
  /** The request, with its body. Empty once it is sent: responses may take long. */
  text: string;
  /** Set once the head of the response is there. */
  answer: Answer | undefined;
  /** Set once it is sent, to cut it. */
  connection: Connection | undefined;
  over: boolean;
  /** Its response is complete, or why it never will be. Only the first call counts. */
  end(error?: unknown): void;
};

/** The error of an exchange whose connection ended before its response. */
export const connectionClosed = (): SendError => new SendError('connection closed');

/** A connection for one request after another. */
export type Connection = {
  start(exchange: Exchange): void;
  /** Its exchange ends with `error`, by default `connectionClosed()`. */
  destroy(error?: Error): void;
  /** Since when it is idle, by `performance.now()`. Infinity while it is in use, as is `expiresAt`. */
  idleSince: number;
  expiresAt: number;
};

type Hooks = {
  /** Another request may follow. The other side says for how long. */
  onIdle(idleSeconds: number | undefined): void;
  /** Called once. */
  onClose(): void;
};

/** Sends requests on `socket`, which is connected, one at a time. */
export function httpConnection(socket: Socket, { onIdle, onClose }: Hooks): Connection {
  let exchange: Exchange | undefined;
  let head: ResponseHead | undefined;
  let complete = false;
  let received = 0;
  let bodyBytes = 0;
  let closed = false;

  const parser = createResponseParser({
    // One that nobody asked for must not become the answer to the next request.
    onBegin: () => exchange !== undefined && !complete,
    onHead(found) {
      head = found;
      if (exchange) exchange.answer = { status: found.status, retryAfter: found.retryAfter };
    },
    onBody(bytes) {
      bodyBytes += bytes;
      return bodyBytes <= MAX_ANSWER_BYTES;
    },
    onEnd() {
      complete = true;
    },
  });

  const connection: Connection = { start, destroy, idleSince: Infinity, expiresAt: Infinity };

  function start(next: Exchange): void {
    exchange = next;
    next.connection = connection;
    received = 0;
    bodyBytes = 0;
    socket.write(next.text);
    next.text = '';
  }

  function destroy(error: Error = connectionClosed()): void {
    exchange?.end(error);
    exchange = undefined;
    socket.destroy();
    if (closed) return;
    closed = true;
    onClose();
  }

  function endExchange(reusable: boolean): void {
    exchange?.end();
    exchange = undefined;
    complete = false;
    // A response that came before its request was sent: nobody reads the rest.
    if (reusable && head?.keepAlive && socket.writableLength === 0) onIdle(head.idleSeconds);
    else destroy();
  }

  socket.on('data', (chunk: Buffer) => {
    if (closed) return;
    received += chunk.length;
    const refused = parser.parse(chunk);
    if (complete) endExchange(refused === undefined);
    else if (refused !== undefined || received > MAX_RESPONSE_BYTES) {
      destroy(new SendError('invalid HTTP response', { cause: refused }));
    }
  });
  socket.on('end', () => {
    if (closed) return;
    parser.finish();
    if (complete) endExchange(false);
    else destroy();
  });
  socket.on('error', destroy);
  socket.on('close', () => {
    destroy();
    parser.free();
  });
  return connection;
}
