import { Hono } from 'hono';
import { actionsRoutes } from './actions/routes.ts';
import { docsRoutes } from './docs/routes.ts';
import { accessLog } from './http/access-log.ts';
import { assetsRoutes } from './http/assets.ts';
import { authenticate } from './http/auth.ts';
import type { Env } from './http/context.ts';
import { crossOrigin } from './http/cross-origin.ts';
import { deadline } from './http/deadline.ts';
import { knownRoutes, withoutRoute } from './http/known-routes.ts';
import { limitedBody } from './http/limited-body.ts';
import { literalFirst } from './http/literal-first.ts';
import { constraintsOf } from './http/operation.ts';
import { notFound, onError, problemResponse } from './http/problem.ts';
import { rateLimit } from './http/rate-limit.ts';
import { requestId } from './http/request-id.ts';
import { standardHeaders } from './http/standard-headers.ts';
import { notificationsRoutes } from './notifications/routes.ts';
import { statsRoutes } from './stats/routes.ts';
import { systemRoutes } from './system/routes.ts';
import { usersRoutes } from './users/routes.ts';
import { webhookEndpointsRoutes } from './webhook-endpoints/routes.ts';

/** The whole HTTP surface: middleware in order, then one line per resource. */
export const app = new Hono<Env>({ router: literalFirst() });

app.onError(onError(() => constraintsOf(app.routes)));
app.notFound(withoutRoute(app, (c) => problemResponse(c, notFound())));

app.use(requestId);
app.use(accessLog);
app.use(standardHeaders);
app.use(crossOrigin);
app.use(deadline);
app.use('/api/*', knownRoutes, authenticate, rateLimit, limitedBody);

// Loaded when it is first opened.
app.all('/console/*', async (c) => (await import('./console/routes.tsx')).consoleOf(c));

const routes = app
  .route('/', systemRoutes)
  .route('/assets', assetsRoutes)
  .route('/', docsRoutes)
  .route('/api/v1/users', usersRoutes)
  .route('/api/v1/webhook-endpoints', webhookEndpointsRoutes)
  .route('/api/v1/notifications', notificationsRoutes)
  .route('/api/v1/actions', actionsRoutes)
  .route('/api/v1/stats', statsRoutes);

/** Every route with what it takes and gives, for the typed client. */
export type App = typeof routes;
