import * as z from 'zod';
import { AppError } from '../errors.ts';
import { lazy } from '../fields.ts';
import { json, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';

/** The query parameters of every list, to be extended with its filters. */
export const pageQuery = lazy(() =>
  z.strictObject({
    limit: z
      .string()
      .regex(/^\d{1,3}$/, 'must be a whole number from 1 to 100')
      .transform(Number)
      .refine((n) => n >= 1 && n <= 100, 'must be a whole number from 1 to 100')
      .default(20)
      .meta({ type: 'integer', minimum: 1, maximum: 100, default: 20, description: 'Items per page.' }),
    cursor: z.string().optional().meta({ description: 'The nextCursor of the previous page.' }),
  }),
);

/** A list's envelope, named after what it lists. */
export const pageOf = (item: () => z.ZodType) =>
  lazy(() =>
    z.object({ data: z.array(item()), nextCursor: z.string().nullable() }).meta({ id: `${item().meta()?.id}Page` }),
  );

/**
 * Keyset pages over UUIDv7 ids. A cursor is the last id seen and a checksum over it, the path and the filters: a
 * damaged one, or one from another list, is told apart without a secret. It is no capability: the filters still apply.
 */
export type Page = { limit: number; after: string | null };

type Query = { limit: number; cursor?: string | undefined };

/** What a list's query asks for. Throws AppError `invalid-cursor`. */
export function pageOfQuery(c: Ctx, query: Query): Page {
  if (query.cursor === undefined) return { limit: query.limit, after: null };
  const after = readCursor(query.cursor, scopeOf(c, query));
  if (after === undefined) throw new AppError('invalid-cursor', 'The cursor is not one that this list gave out.');
  return { limit: query.limit, after };
}

/** Answers with a page. `rows` holds one more than the limit where there is a next page. */
export function pageResponse<T extends { id: string }>(c: Ctx, query: Query, rows: T[]) {
  const data = rows.slice(0, query.limit);
  const last = data.at(-1);
  const nextCursor = rows.length > query.limit && last ? writeCursor(last.id, scopeOf(c, query)) : null;
  if (nextCursor) {
    const next = new URLSearchParams({ ...(query as object), cursor: nextCursor });
    setHeader(c, 'Link', `<${c.req.url.split('?', 1)[0]}?${next}>; rel="next"`);
  }
  return json(c, { data, nextCursor }, 200);
}

function scopeOf(c: Ctx, query: Query): string {
  const { limit: _, cursor: __, ...filters } = query;
  return c.req.path + JSON.stringify(filters);
}

/** The id's 32 hexadecimal digits, and 8 of the checksum. */
export function writeCursor(id: string, scope: string): string {
  const hex = id.replaceAll('-', '');
  const sum = checksum(hex + scope).toString(16);
  return hex + sum.padStart(8, '0');
}

/** The id in `cursor`, or undefined where it is not one that `writeCursor` made for this scope. */
export function readCursor(cursor: string, scope: string): string | undefined {
  if (!/^[0-9a-f]{40}$/.test(cursor)) return undefined;
  const id = cursor.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  return writeCursor(id, scope) === cursor ? id : undefined;
}

/** FNV-1a, 32 bits. */
function checksum(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
