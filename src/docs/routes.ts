import { createRoute } from '@hono/zod-openapi';
import * as z from 'zod';
import { plainProblemsOf, plainResponse } from '../http/openapi.ts';
import { router } from '../http/route.ts';
import { page } from './page.ts';
import { script } from './script.ts';
import { style } from './style.ts';

const openapi = createRoute({
  method: 'get',
  path: '/openapi.json',
  operationId: 'getOpenApi',
  summary: 'Read this description',
  description: 'OpenAPI 3.1, made from the very schemas that validate.',
  security: [],
  responses: {
    200: plainResponse(z.object({ openapi: z.string() }).loose(), 'This document', 'application/json'),
    ...plainProblemsOf(),
  },
});

const docs = createRoute({
  method: 'get',
  path: '/docs',
  operationId: 'getDocs',
  summary: 'Read and try the API',
  description: 'A page that is made from this description, in the browser.',
  security: [],
  responses: { 200: plainResponse(z.string(), 'A page', 'text/html'), ...plainProblemsOf() },
});

/** Scripts, styles and requests from here alone, and none inline. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** `document` is called once, with the first request: every route has been declared by then. */
export function docsRoutes(document: () => object) {
  let json: string | undefined;
  const routes = router()
    .openapi(openapi, (c) => {
      json ??= JSON.stringify(document());
      c.header('Cache-Control', 'public, max-age=60');
      // Text already: typed as the JSON that it is.
      return c.body(json, 200, { 'Content-Type': 'application/json' }) as never;
    })
    .openapi(docs, (c) => {
      c.header('Content-Security-Policy', POLICY);
      return c.html(page, 200);
    });
  routes.get('/docs/app.js', (c) => c.body(script, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }));
  routes.get('/docs/app.css', (c) => c.body(style, 200, { 'Content-Type': 'text/css; charset=utf-8' }));
  return routes;
}
