import type { TypedResponse } from 'hono';
import type { ContentfulStatusCode, StatusCode } from 'hono/utils/http-status';
import type { JSONParsed } from 'hono/utils/types';
import type { Asset } from '../deps.ts';
import type { Ctx } from './context.ts';

// A plain record of headers, written once: a Headers object costs more than a statement (DECISIONS.md).

/** Sets a header of the response. Names are case-sensitive here: spell a name the same way everywhere. */
export function setHeader(c: Ctx, name: string, value: string): void {
  headersOf(c)[name] = value;
}

function headersOf(c: Ctx): Record<string, string> {
  if (!c.get('headers')) c.set('headers', {});
  return c.get('headers');
}

/** Creates the response, with the headers that were set. */
function answer(c: Ctx, status: StatusCode, body: Body | null): Response {
  const response = new Response(body, { status, headers: headersOf(c) });
  c.set('answer', response);
  return response;
}

type Body = string | Asset['body'];
type Json<T, S extends StatusCode> = Response & TypedResponse<JSONParsed<T>, S, 'json'>;

/** Responds with JSON. */
export function json<T, S extends ContentfulStatusCode>(c: Ctx, value: T, status: S): Json<T, S> {
  return jsonText<T, S>(c, JSON.stringify(value), status);
}

/** Responds with JSON that is already serialized. */
export function jsonText<T, S extends ContentfulStatusCode>(c: Ctx, text: string, status: S): Json<T, S> {
  return body(c, text, 'application/json', status) as Json<T, S>;
}

/** Responds with an HTML page. */
export function html(c: Ctx, page: string): Response {
  return body(c, page, 'text/html; charset=UTF-8');
}

/** Responds with content of a media type. */
export function body(c: Ctx, content: Body, type: string, status: StatusCode = 200): Response {
  setHeader(c, 'Content-Type', type);
  return answer(c, status, content);
}

/** Responds without a body. */
export function empty<S extends StatusCode>(c: Ctx, status: S): Response & TypedResponse<null, S, 'body'> {
  return answer(c, status, null) as Response & TypedResponse<null, S, 'body'>;
}
