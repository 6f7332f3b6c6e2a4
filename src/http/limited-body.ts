import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import { abortable } from './abortable.ts';
import type { Ctx, Env } from './context.ts';
import { mayWrite } from './problem.ts';

/**
 * Reads the whole body before the handler runs: at most `bodyLimitBytes`, by Content-Length or as it arrives, and until
 * the deadline. Throws AppError `content-too-large`, or `malformed-json` if the body is incomplete. If it is not UTF-8,
 * the code that reads the text gets `malformed-json`.
 */
export const limitedBody = createMiddleware<Env>((c, next) => {
  const length = c.req.header('Content-Length');
  // HTTP/2 bodies need no Content-Length or Transfer-Encoding.
  const chunked = length === undefined && mayWrite(c) && c.req.raw.body !== null;
  return chunked || Number(length) > 0 ? readBody(c, chunked, Number(length)).then(next) : next();
});

async function readBody(c: Ctx, chunked: boolean, length: number): Promise<void> {
  const limit = c.env.settings.bodyLimitBytes;
  if (length > limit) throw tooLarge(limit);
  const bytes: Promise<ArrayBuffer | Uint8Array<ArrayBuffer>> =
    chunked && c.req.raw.body ? readBytes(c.req.raw.body, limit) : c.req.arrayBuffer();
  const inTime = abortable(bytes.catch(brokenOff), c.get('signal'));
  const text = inTime.then(textOf);
  // The code that reads the body gets this error, after that of its Content-Type.
  text.catch(() => {});
  // Despite its types, Hono stores promises there. It parses JSON from this one.
  c.req.bodyCache.text = text as unknown as string;
  await inTime;
}

/** Reads and discards up to this multiple of the limit, so that the client finishes sending and reads the response. */
export const DISCARD_FACTOR = 32;

async function readBytes(body: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size <= limit) chunks.push(chunk);
    if (size > limit * DISCARD_FACTOR) break;
  }
  if (size > limit) throw tooLarge(limit);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/** JSON is UTF-8 (RFC 8259). Other bytes would be stored as replacement characters. */
function textOf(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new AppError('malformed-json', 'The request body is not valid UTF-8.');
  }
}

function brokenOff(error: unknown): never {
  throw error instanceof AppError
    ? error
    : new AppError('malformed-json', 'The request body is incomplete.', { cause: error });
}

function tooLarge(limit: number): AppError {
  return new AppError('content-too-large', `The request body exceeds ${limit} bytes.`);
}
