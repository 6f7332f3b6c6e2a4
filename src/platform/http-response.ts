import wasm from 'undici/lib/llhttp/llhttp-wasm.js';

/** What a response says of itself before its body. */
export type ResponseHead = {
  status: number;
  /** The first Retry-After. */
  retryAfter: string | null;
  /** Whether another request may follow on its connection. */
  keepAlive: boolean;
  /** For how long the other side keeps an idle connection, in seconds, as its Keep-Alive header says. */
  idleSeconds: number | undefined;
};

export type ResponseEvents = {
  /** A response begins. Returns false if there is no request that it could answer. */
  onBegin(): boolean;
  /** Not for interim responses (1xx). */
  onHead(head: ResponseHead): void;
  /** Part of the body. Returns false if no more is wanted. */
  onBody(bytes: number): boolean;
  onEnd(): void;
};

/** Parses the HTTP/1.1 responses of one connection. */
export type ResponseParser = {
  /** Parses what has arrived. Returns why that is no response, or is not wanted. */
  parse(chunk: Buffer): string | undefined;
  /** The other side has closed: ends a body that has no length. */
  finish(): void;
  /** Frees its memory. It must not be used afterwards. */
  free(): void;
};

type Llhttp = {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
  llhttp_execute(parser: number, at: number, length: number): number;
  llhttp_finish(parser: number): number;
  llhttp_get_error_reason(parser: number): number;
};

/** What has been read of a head. Names and values may arrive in pieces. */
type Reading = ResponseEvents & {
  head: ResponseHead;
  name: string;
  /** Undefined while the name is read. A value may be empty. */
  value: string | undefined;
  hasBody: boolean;
  bytes: number;
};

const RESPONSE = 2;
const OK = 0;
const STOP = -1;
/** Of the names and values of one head. */
const MAX_HEAD_BYTES = 16 * 1024;
/** In a Keep-Alive header, as in `timeout=5, max=100`. */
const TIMEOUT = /(?:^|[,\s])timeout=(\d{1,9})/i;
/** How much is parsed at a time. Sockets read no more than this at once, on Node. */
const BUFFER_BYTES = 65_536;

let llhttp: Llhttp | undefined;
/** Its memory, and where it reads from in there. All parsers share both. */
let view = Buffer.alloc(0);
let buffer = 0;
/** For whom it parses. */
let reading: Reading;

const textAt = (at: number, length: number) => view.toString('latin1', at, at + length);
const newHead = (): ResponseHead => ({ status: 0, retryAfter: null, keepAlive: false, idleSeconds: undefined });

/** A name or a value is complete once the next one begins. */
function endOfField(): void {
  const { head, name, value } = reading;
  if (value === undefined) return;
  reading.name = '';
  reading.value = undefined;
  // Most names are shorter than the four that matter.
  if (name.length < 10) return;
  const known = name.toLowerCase();
  if (known === 'retry-after') head.retryAfter ??= value.trim();
  else if (known === 'keep-alive') head.idleSeconds = secondsOf(value);
  else if (known === 'content-length') reading.hasBody ||= value !== '0';
  else if (known === 'transfer-encoding') reading.hasBody = true;
}

function secondsOf(keepAlive: string): number | undefined {
  const found = TIMEOUT.exec(keepAlive);
  return found ? Number(found[1]) : undefined;
}

function counted(length: number): number {
  reading.bytes += length;
  return reading.bytes > MAX_HEAD_BYTES ? STOP : OK;
}

const env = {
  wasm_on_url: () => OK,
  wasm_on_status: () => OK,
  wasm_on_message_begin(): number {
    reading.head = newHead();
    // Trailers of the response before may have left theirs.
    reading.name = '';
    reading.value = undefined;
    reading.hasBody = false;
    reading.bytes = 0;
    return reading.onBegin() ? OK : STOP;
  },
  wasm_on_header_field(_: number, at: number, length: number): number {
    endOfField();
    reading.name += textAt(at, length);
    return counted(length);
  },
  wasm_on_header_value(_: number, at: number, length: number): number {
    reading.value = (reading.value ?? '') + textAt(at, length);
    return counted(length);
  },
  wasm_on_headers_complete(_: number, status: number, upgrade: number, keepAlive: number): number {
    endOfField();
    const { head } = reading;
    head.status = status;
    // Of a 204 with a body, the body would be read as the next response.
    head.keepAlive = keepAlive === 1 && !(reading.hasBody && (status === 204 || status === 304));
    if (upgrade === 1 || status < 100) return STOP;
    if (status >= 200) reading.onHead(head);
    return OK;
  },
  wasm_on_body: (_: number, _at: number, length: number) => (reading.onBody(length) ? OK : STOP),
  wasm_on_message_complete(): number {
    if (reading.head.status >= 200) reading.onEnd();
    return OK;
  },
};

const load = () => new WebAssembly.Instance(new WebAssembly.Module(wasm), { env }).exports as Llhttp;

/** Parses with llhttp, Node's own parser of HTTP/1.1, as undici has it for WebAssembly. */
export function createResponseParser(events: ResponseEvents): ResponseParser {
  llhttp ??= load();
  const { memory, malloc, llhttp_alloc, llhttp_free, llhttp_execute, llhttp_finish, llhttp_get_error_reason } = llhttp;
  buffer ||= malloc(BUFFER_BYTES);
  const parser = llhttp_alloc(RESPONSE);
  const mine: Reading = { ...events, head: newHead(), name: '', value: undefined, hasBody: false, bytes: 0 };

  function reason(): string {
    const at = llhttp_get_error_reason(parser);
    return view.toString('latin1', at, view.indexOf(0, at));
  }

  return {
    parse(arrived) {
      reading = mine;
      for (let at = 0; at < arrived.length; at += BUFFER_BYTES) {
        const chunk = arrived.subarray(at, at + BUFFER_BYTES);
        // The memory moves when it grows.
        if (view.buffer !== memory.buffer) view = Buffer.from(memory.buffer);
        view.set(chunk, buffer);
        if (llhttp_execute(parser, buffer, chunk.length) !== OK) return reason();
      }
      return undefined;
    },
    finish() {
      reading = mine;
      llhttp_finish(parser);
    },
    free: () => llhttp_free(parser),
  };
}
