import type { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { matchedRoutes } from 'hono/route';
import { AppError } from '../errors.ts';
import type { Ctx, Env } from './context.ts';

/** The route that matches the path and the method, not middleware. */
export const routeOf = (c: Ctx): string | undefined =>
  matchedRoutes(c).findLast(({ method }) => method !== 'ALL')?.path;

/** Responds 404 to an unknown path, before a token is required. */
export const knownRoutes = createMiddleware<Env>(async (c, next) => {
  if (!routeOf(c)) return c.notFound();
  await next();
});

/** Throws AppError `method-not-allowed`, with Allow, if the path exists with other methods only. */
export const knownMethods = <E extends Env>(app: Hono<E>) =>
  methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      // For a literal path such as /notifications/redrive, which /notifications/:id matches, too.
      const own = app.routes.flatMap(({ path, method }) => (path === c.req.path && method !== 'ALL' ? method : []));
      const named = own.includes('GET') ? [...own, 'HEAD'] : own;
      const Allow = [...new Set(named.length > 0 ? named : methods)].join(', ');
      throw new AppError('method-not-allowed', `Use one of ${Allow}.`, { headers: { Allow } });
    },
  });
