import { AppError } from '../errors.ts';
import { body, empty, setHeader } from './answer.ts';
import { type Ctx, router } from './context.ts';
import { hasCurrent } from './etag.ts';

const TYPES: Record<string, string> = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
};

/** The static files that pages use. They require no token. */
export const assetsRoutes = router().get('/:name{[a-z0-9-]+\\.(?:css|js)}', (c) => asset(c, c.req.param('name')));

/**
 * Responds with the static file of this name, or 304 if the client has it. A cache has to revalidate each time, so that
 * a page never gets files of another version. Throws AppError `not-found`.
 */
export async function asset(c: Ctx, name: string): Promise<Response> {
  const found = await c.env.assets(name, c.get('signal'));
  if (!found) throw new AppError('not-found', 'There is no such file.');
  setHeader(c, 'Cache-Control', 'no-cache');
  setHeader(c, 'ETag', found.etag);
  if (!hasCurrent(c, found.etag)) return body(c, found.body, TYPES[name.slice(name.lastIndexOf('.') + 1)] as string);
  if (found.body instanceof ReadableStream) await found.body.cancel();
  return empty(c, 304);
}
