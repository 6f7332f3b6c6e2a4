import { createMiddleware } from 'hono/factory';
import { AppError } from '../errors.ts';
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
    const text = chunked && c.req.raw.body ? readText(c.req.raw.body, limit) : c.req.text();
    const inTime = Promise.race([text, aborted(c.get('signal'))]);
    // Hono keeps promises there, whatever its types say, and parses JSON from this one.
    c.req.bodyCache.text = inTime as unknown as string;
    await inTime;
  }
  await next();
});

/** How many times the limit is read and thrown away, so that the client is done sending and hears the answer. */
const PATIENCE = 32;

async function readText(body: ReadableStream<Uint8Array>, limit: number): Promise<string> {
  const decoder = new TextDecoder();
  let size = 0;
  let text = '';
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > limit * PATIENCE) break;
    if (size <= limit) text += decoder.decode(chunk, { stream: true });
  }
  if (size > limit) throw tooLarge(limit);
  return text + decoder.decode();
}

function tooLarge(limit: number): AppError {
  return new AppError('content-too-large', `The body is larger than ${limit} bytes.`);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
