import type { Hono, NotFoundHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { matchedRoutes } from 'hono/route';
import { AppError } from '../errors.ts';
import type { Ctx, Env } from './context.ts';

/** The route that matches the path and the method, not middleware. */
export const routeOf = (c: Ctx): string | undefined =>
  matchedRoutes(c).findLast(({ method }) => method !== 'ALL')?.path;

/** Notes the route. Responds 404 to an unknown path, before a token is required. */
export const knownRoutes = createMiddleware<Env>((c, next) => {
  const route = routeOf(c);
  if (!route) return Promise.resolve(c.notFound());
  c.set('route', route);
  return next();
});

/**
 * Handles requests without a route. Throws AppError `method-not-allowed`, with Allow, if the path has routes of other
 * methods; otherwise responds as `otherwise` does.
 */
export function withoutRoute<E extends Env>(app: Hono<E>, otherwise: NotFoundHandler<E>): NotFoundHandler<E> {
  return (c) => {
    const allowed = [...new Set(app.routes.map(({ method }) => method))]
      .filter((method) => app.router.match(method, c.req.path)[0].some(([[, route]]) => route.method !== 'ALL'))
      .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : method));
    if (allowed.length === 0 || allowed.includes(c.req.method)) return otherwise(c);
    const Allow = allowed.join(', ');
    throw new AppError('method-not-allowed', `Use one of ${Allow}.`, { headers: { Allow } });
  };
}
