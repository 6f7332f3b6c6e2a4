import type { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { matchedRoutes } from 'hono/route';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';
import { problemResponse } from './problem.ts';

/** Responds 404 to an unknown path, before a token is required. */
export const knownRoutes = createMiddleware<Env>(async (c, next) => {
  if (!matchedRoutes(c).some((route) => route.method !== 'ALL')) return c.notFound();
  await next();
});

/** Responds 405 with Allow if the path exists with other methods only. */
export const knownMethods = (app: Hono<Env>) =>
  methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      // Of /notifications/redrive, which /notifications/:id matches, too.
      const own = app.routes.flatMap(({ path, method }) => (path === c.req.path && method !== 'ALL' ? method : []));
      const named = own.includes('GET') ? [...own, 'HEAD'] : own;
      const Allow = [...new Set(named.length > 0 ? named : methods)].join(', ');
      return problemResponse(c, new AppError('method-not-allowed', `Use one of ${Allow}.`, { headers: { Allow } }));
    },
  });
