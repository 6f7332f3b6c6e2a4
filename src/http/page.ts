import * as z from 'zod/mini';
import { AppError } from '../errors.ts';
import { documented, lazy } from '../fields.ts';
import { fnv1a } from '../fnv1a.ts';
import { json, setHeader } from './answer.ts';
import { type Ctx, urlOf } from './context.ts';

const LIMIT = 'must be a whole number from 1 to 100';
const limit = () =>
  z
    .pipe(z.string().check(z.regex(/^\d{1,3}$/, LIMIT)), z.transform(Number))
    .check(z.refine((n) => n >= 1 && n <= 100, LIMIT));

/** The query parameters of every list. A list adds its filters with `z.extend`. */
export const pageQuery = lazy(() =>
  z.strictObject({
    limit: documented(z._default(limit(), 20), {
      type: 'integer',
      minimum: 1,
      maximum: 100,
      default: 20,
      description: 'Items per page.',
    }),
    cursor: documented(z.optional(z.string()), { description: 'The nextCursor of the previous page.' }),
  }),
);

/** The schema of a page, named after its items. */
export const pageOf = (item: () => z.core.$ZodType) =>
  lazy(() =>
    documented(z.object({ data: z.array(item()), nextCursor: z.nullable(z.string()) }), {
      id: `${z.globalRegistry.get(item())?.id}Page`,
    }),
  );

/**
 * A keyset page over UUIDv7 ids. A cursor is the last id and a checksum of id, path and filters, which detects damaged
 * cursors and those of another list. It needs no secret, because it grants nothing: the filters still apply.
 */
export type Page = { limit: number; after: string | null };

type Query = { limit: number; cursor?: string | undefined };

/** The page that a query requests. Throws AppError `invalid-cursor`. */
export function pageOfQuery(c: Ctx, query: Query): Page {
  if (query.cursor === undefined) return { limit: query.limit, after: null };
  const after = readCursor(query.cursor, scopeOf(c, query));
  if (after === undefined) throw new AppError('invalid-cursor', 'The cursor is not valid for this list.');
  return { limit: query.limit, after };
}

/** Returns a page of `rows`, which has one row more than the limit if there is a next page, after the id `next`. */
export function pageOfRows<T extends { id: string }>({ limit }: Query, rows: T[]) {
  const data = rows.slice(0, limit);
  return { data, next: rows.length > limit ? (data.at(-1)?.id ?? null) : null };
}

/** The cursor of the page that starts after the id `next`; null if there is none. */
export const cursorTo = (c: Ctx, query: Query, next: string | null): string | null =>
  next && writeCursor(next, scopeOf(c, query));

/** Responds with a page. `rows` has one row more than the limit if there is a next page. */
export function pageResponse<T extends { id: string }>(c: Ctx, query: Query, rows: T[]) {
  return pageUpTo(c, query, pageOfRows(query, rows));
}

/** Responds with a page. The next one starts after the id `next`; null if there is none. */
export function pageUpTo<T>(c: Ctx, query: Query, { data, next }: { data: T[]; next: string | null }) {
  const nextCursor = cursorTo(c, query, next);
  if (nextCursor) {
    const more = new URLSearchParams({ ...(query as object), cursor: nextCursor });
    setHeader(c, 'Link', `<${urlOf(c).split('?', 1)[0]}?${more}>; rel="next"`);
  }
  return json(c, { data, nextCursor }, 200);
}

function scopeOf(c: Ctx, query: Query): string {
  const { limit: _, cursor: __, ...filters } = query;
  return c.req.path + JSON.stringify(filters);
}

/** The 32 hexadecimal digits of the id, and 8 of the checksum. */
export function writeCursor(id: string, scope: string): string {
  const hex = id.replaceAll('-', '');
  const sum = fnv1a(hex + scope).toString(16);
  return hex + sum.padStart(8, '0');
}

/** The id in `cursor`, or undefined if `writeCursor` did not create it for this scope. */
export function readCursor(cursor: string, scope: string): string | undefined {
  if (!/^[0-9a-f]{40}$/.test(cursor)) return undefined;
  const id = cursor.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  return writeCursor(id, scope) === cursor ? id : undefined;
}
