import type { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { matchedRoutes } from 'hono/route';
import { AppError } from '../errors.ts';
import type { Env } from './context.ts';
import { problemResponse } from './problem.ts';

/** 404 for what is no route, before anyone is asked for a token. */
export const knownRoutes = createMiddleware<Env>(async (c, next) => {
  if (!matchedRoutes(c).some((route) => route.method !== 'ALL')) return c.notFound();
  await next();
});

/** 405 with Allow for a path that exists with another method. */
export const knownMethods = (app: Hono<Env>) =>
  methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      const Allow = methods.join(', ');
      return problemResponse(c, new AppError('method-not-allowed', `Use one of ${Allow}.`, { headers: { Allow } }));
    },
  });
