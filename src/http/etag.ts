import { AppError } from '../errors.ts';
import { empty, json, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';

/** The strong entity tag of a resource's version. */
export const etagOf = (version: number): string => `"${version}"`;

/** 200 with the resource and its entity tag. */
export function withEtag<T extends { version: number }>(c: Ctx, row: T) {
  setHeader(c, 'ETag', etagOf(row.version));
  return json(c, row, 200);
}

/** 200 with the resource, or 304 where If-None-Match (weak comparison, RFC 9110 §13.1.2) names what it is. */
export function conditional<T extends { version: number }>(c: Ctx, row: T) {
  const etag = etagOf(row.version);
  setHeader(c, 'Cache-Control', 'private, no-cache');
  const ifNoneMatch = c.req.header('If-None-Match');
  if (ifNoneMatch !== undefined) {
    const tags = parseTags(ifNoneMatch);
    if (tags === '*' || tags?.some((tag) => tag.replace(/^W\//, '') === etag)) {
      setHeader(c, 'ETag', etag);
      return empty(c, 304);
    }
  }
  return withEtag(c, row);
}

/** What a conditional write takes of the request beside its id and its input. Throws as `ifMatch` does. */
export function writeOf(c: Ctx): { versions: string | null; now: string } {
  return { versions: ifMatch(c), now: c.env.now().toISOString() };
}

/**
 * The versions that If-Match accepts, for the write to compare (strong comparison, RFC 9110 §13.1.1), as the text of
 * a Postgres integer array; null where any version will do. Throws AppError `validation-failed`.
 */
export function ifMatch(c: Ctx): string | null {
  const header = c.req.header('If-Match');
  if (header === undefined) return null;
  const tags = parseTags(header);
  if (tags === '*') return null;
  if (!tags) {
    const errors = [{ detail: 'must be * or a list of entity tags', parameter: 'If-Match' }];
    throw new AppError('validation-failed', 'The If-Match header is not valid.', { errors });
  }
  // Tags are opaque: "01" is none that was given out, whatever number it is.
  const versions = tags.flatMap((tag) => /^"([1-9]\d{0,8})"$/.exec(tag)?.[1] ?? []);
  return `{${versions.join(',')}}`;
}

const TAG = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;
const LIST =
  /^[ \t,]*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"(?:[ \t]*,[ \t,]*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")*[ \t,]*$/;

function parseTags(header: string): string[] | '*' | undefined {
  const value = header.trim();
  if (value === '*') return '*';
  return LIST.test(value) ? (value.match(TAG) ?? undefined) : undefined;
}
