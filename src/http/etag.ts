import { AppError, type FieldError } from '../errors.ts';
import { empty, json, jsonText, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';

/** The strong entity tag of a resource's version. */
export const etagOf = (version: number): string => `"${version}"`;

// A proxy that compresses a response makes its ETag weak, which If-Match rejects. Cloudflare does so unless forbidden.
const REVALIDATED = 'private, no-cache, no-transform';

/** Responds 200 with the resource and its ETag. */
export function withEtag<T extends { version: number }>(c: Ctx, row: T) {
  setHeader(c, 'Cache-Control', 'no-store, no-transform');
  setHeader(c, 'ETag', etagOf(row.version));
  return json(c, row, 200);
}

/** Responds 200 with the resource, or 304 if If-None-Match has its ETag (weak comparison, RFC 9110 §13.1.2). */
export function conditional<T extends { version: number }>(c: Ctx, row: T) {
  const etag = etagOf(row.version);
  setHeader(c, 'Cache-Control', REVALIDATED);
  setHeader(c, 'ETag', etag);
  return hasCurrent(c, etag) ? empty(c, 304) : json(c, row, 200);
}

/** Responds 200 with content that has no version, or 304 as `conditional` does. The ETag is a hash of the content. */
export async function conditionalOnContent<T extends object>(c: Ctx, row: T) {
  const text = JSON.stringify(row);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  const etag = `"${btoa(String.fromCharCode(...hash.subarray(0, 15)))}"`;
  setHeader(c, 'Cache-Control', REVALIDATED);
  setHeader(c, 'ETag', etag);
  return hasCurrent(c, etag) ? empty(c, 304) : jsonText<T, 200>(c, text, 200);
}

/** Whether If-None-Match has this entity tag, or is `*`: the client's copy is current. */
export function hasCurrent(c: Ctx, etag: string): boolean {
  const tags = parseTags(c.req.header('If-None-Match') ?? '');
  return tags === '*' || (tags?.some((tag) => weak(tag) === weak(etag)) ?? false);
}

const weak = (tag: string) => tag.replace(/^W\//, '');

/** Returns what a conditional write needs from the request besides id and body. Throws as `ifMatch` does. */
export function writeOf(c: Ctx): { versions: string | null; now: string } {
  return { versions: ifMatch(c), now: c.env.now().toISOString() };
}

/**
 * The versions that If-Match accepts, as the text of a Postgres integer array, for the write to compare (strong
 * comparison, RFC 9110 §13.1.1). Null if any version matches. Throws AppError `validation-failed`.
 */
export function ifMatch(c: Ctx): string | null {
  const errors = preconditionErrors(c);
  if (errors.length > 0)
    throw new AppError('validation-failed', 'A precondition is not valid. See errors.', { errors });
  const tags = parseTags(c.req.header('If-Match') ?? '*');
  if (!tags || tags === '*') return null;
  // Tags are opaque: "01" is not the tag of version 1.
  const versions = tags.flatMap((tag) => /^"([1-9]\d{0,8})"$/.exec(tag)?.[1] ?? []);
  return `{${versions.join(',')}}`;
}

/** Returns the errors in the preconditions of a write, which may have If-Match only. */
export function preconditionErrors(c: Ctx): FieldError[] {
  const errors: FieldError[] = [];
  const match = c.req.header('If-Match');
  if (match !== undefined && !parseTags(match)) {
    errors.push({ detail: 'must be * or a list of entity tags', parameter: 'If-Match' });
  }
  // To ignore it would be to write over what it protects.
  if (c.req.header('If-None-Match') !== undefined) {
    errors.push({ detail: 'is not supported for a write: send If-Match', parameter: 'If-None-Match' });
  }
  return errors;
}

const TAG = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;
const LIST =
  /^[ \t,]*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"(?:[ \t]*,[ \t,]*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")*[ \t,]*$/;

function parseTags(header: string): string[] | '*' | undefined {
  const value = header.trim();
  if (value === '*') return '*';
  return LIST.test(value) ? (value.match(TAG) ?? undefined) : undefined;
}
