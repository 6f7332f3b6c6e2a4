/** @jsxImportSource hono/jsx */
import { Hono } from 'hono';
import { scope } from '../http/auth.ts';
import type { Ctx, Env } from '../http/context.ts';
import { knownRoutes, routeOf, withoutRoute } from '../http/known-routes.ts';
import { limitedBody } from '../http/limited-body.ts';
import { literalFirst } from '../http/literal-first.ts';
import { rateLimit } from '../http/rate-limit.ts';
import { actionsPages } from './actions.tsx';
import { endpointsPages } from './endpoints.tsx';
import { errorPage, limitConcurrentForms, notFoundPage, pageHeaders, sameOriginForms, seeOther } from './http.tsx';
import { inboxPages } from './inbox/pages.tsx';
import { rateLimitByAddress, receive } from './inbox/receive.ts';
import { notificationsPages } from './notifications.tsx';
import { overviewPages } from './overview.tsx';
import { session } from './session.ts';
import { askToSignIn, signInPages } from './sign-in.tsx';
import { usersPages } from './users.tsx';

type Inner = { Bindings: Env['Bindings'] & { outer: Ctx }; Variables: Env['Variables'] };

/** The console's pages, in a separate app, which app.ts loads when a page is first opened. */
const pages = new Hono<Inner>({ router: literalFirst() });

pages.onError((error, c) => errorPage(error, c as unknown as Ctx));
pages.notFound(withoutRoute(pages, (c) => notFoundPage(c as unknown as Ctx)));

pages.use(async (c, next) => {
  const { outer } = c.env;
  for (const name of ['requestId', 'traceId', 'signal', 'headers'] as const) c.set(name, outer.get(name));
  await next();
  // For the access log.
  outer.set('principal', c.get('principal'));
  const route = routeOf(c as unknown as Ctx);
  if (route) outer.set('route', route);
});
pages.use(pageHeaders);
pages.use('/console/inbox/*', (c, next) => (c.env.settings.production ? notFoundPage(c as unknown as Ctx) : next()));
pages.get('/console/', (c) => seeOther(c as unknown as Ctx, '/console'));
pages.use(knownRoutes);
// The sender of a webhook has neither a session nor a form.
pages.post('/console/inbox/:name', rateLimitByAddress, limitedBody, receive);
for (const path of ['/console/sign-in/*', '/console/sign-out'])
  pages.use(path, limitConcurrentForms, limitedBody, sameOriginForms);
pages.route('/console', signInPages);
// A body is read only with a session and within the quota.
pages.use(session(askToSignIn), rateLimit, limitedBody, sameOriginForms);
pages.use('/console/endpoints/*', scope('webhooks:read'));
pages.use('/console/notifications/*', scope('notifications:read'));
pages.use('/console/actions/*', scope('notifications:read'));
pages.use('/console/inbox/*', scope('notifications:read'));
pages.use('/console/users/*', scope('users:read'));
pages
  .route('/console', overviewPages)
  .route('/console/actions', actionsPages)
  .route('/console/endpoints', endpointsPages)
  .route('/console/inbox', inboxPages)
  .route('/console/notifications', notificationsPages)
  .route('/console/users', usersPages);

/** Responds to a request for the console. */
export async function consoleOf(c: Ctx): Promise<Response> {
  return pages.fetch(c.req.raw, { ...c.env, outer: c });
}
