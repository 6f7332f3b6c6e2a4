import { createRoute } from '@hono/zod-openapi';
import * as z from 'zod';
import { body, html, jsonText, setHeader } from '../http/answer.ts';
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
    ...plainProblemsOf('unavailable'),
  },
});

const docs = createRoute({
  method: 'get',
  path: '/docs',
  operationId: 'getDocs',
  summary: 'Read and try the API',
  description: 'A page that is made from this description, in the browser.',
  security: [],
  responses: { 200: plainResponse(z.string(), 'A page', 'text/html'), ...plainProblemsOf('unavailable') },
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
      setHeader(c, 'Cache-Control', 'public, max-age=60');
      return jsonText<{ openapi: string }, 200>(c, json, 200);
    })
    .openapi(docs, (c) => {
      setHeader(c, 'Content-Security-Policy', POLICY);
      return html(c, page);
    });
  routes.get('/docs/app.js', (c) => body(c, script, 'text/javascript; charset=utf-8'));
  routes.get('/docs/app.css', (c) => body(c, style, 'text/css; charset=utf-8'));
  return routes;
}
