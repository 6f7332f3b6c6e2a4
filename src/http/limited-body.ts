import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
import { abortable } from './abortable.ts';
import type { Env } from './context.ts';

/**
 * Reads the body whole before the handler runs: no more than `bodyLimitBytes`, told by Content-Length or, without
 * one, as it arrives, and no longer than the deadline.
 */
export const limitedBody = createMiddleware<Env>(async (c, next) => {
  const length = c.req.header('Content-Length');
  const chunked = length === undefined && c.req.header('Transfer-Encoding') !== undefined;
  if (chunked || Number(length) > 0) {
    const limit = c.env.settings.bodyLimitBytes;
    if (Number(length) > limit) throw tooLarge(limit);
    const bytes = chunked && c.req.raw.body ? readBytes(c.req.raw.body, limit) : c.req.arrayBuffer();
    const inTime = abortable(bytes.catch(brokenOff).then(textOf), c.get('signal'));
    // Hono keeps promises there, whatever its types say, and parses JSON from this one.
    c.req.bodyCache.text = inTime as unknown as string;
    await inTime;
  }
  await next();
});

/** How many times the limit is read and thrown away, so that the client is done sending and hears the answer. */
const PATIENCE = 32;

async function readBytes(body: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(limit);
  let size = 0;
  for await (const chunk of body) {
    if (size + chunk.byteLength <= limit) bytes.set(chunk, size);
    size += chunk.byteLength;
    if (size > limit * PATIENCE) break;
  }
  if (size > limit) throw tooLarge(limit);
  return bytes.subarray(0, size);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/** RFC 8259 has JSON in UTF-8: what is not would be stored as something else. */
function textOf(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new AppError('malformed-json', 'The body is not UTF-8.');
  }
}

function brokenOff(error: unknown): never {
  throw error instanceof AppError ? error : new AppError('malformed-json', 'The body broke off.', { cause: error });
}

function tooLarge(limit: number): AppError {
  return new AppError('content-too-large', `The body is larger than ${limit} bytes.`);
}
