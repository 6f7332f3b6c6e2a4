import * as z from 'zod/mini';
import { lazy } from '../fields.ts';
import { html, setHeader } from '../http/answer.ts';
import { asset } from '../http/assets.ts';
import { type Ctx, router } from '../http/context.ts';
import { operation } from '../http/operation.ts';
import { page } from './page.ts';

const openapi = operation.open({
  operationId: 'getOpenApi',
  summary: 'Get the OpenAPI document',
  description: 'OpenAPI 3.1, generated from the schemas that validate requests.',
  headers: ['If-None-Match'],
  answers: {
    200: { description: 'The document', schema: lazy(() => z.looseObject({ openapi: z.string() })), headers: ['ETag'] },
    304: { description: 'Not modified', headers: ['ETag'] },
  },
  problems: ['unavailable'],
});

const docs = operation.open({
  operationId: 'getDocs',
  summary: 'Get the API reference',
  description: 'Renders the OpenAPI document in the browser.',
  answers: { 200: { description: 'The page', schema: lazy(() => z.string()), type: 'text/html' } },
  problems: ['unavailable'],
});

/** Permits scripts, styles and requests of this origin only, and none inline. */
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

/**
 * Whether a person on this machine opens the page in a browser, under a loopback name. Excludes proxies, names that
 * someone else resolves, and scripts of other pages, which could read the token.
 */
function isAtThisMachine(c: Ctx): boolean {
  const header = (name: string) => c.req.header(name) ?? '';
  const isForwarded = PROXIES.some((name) => header(name) !== '');
  const isOpened = header('Sec-Fetch-Mode') === 'navigate' && header('Sec-Fetch-Dest') === 'document';
  return LOOPBACK.test(c.env.clientAddress) && LOOPBACK_HOST.test(header('Host')) && isOpened && !isForwarded;
}

/** Headers that proxies add. A plain TCP forward adds none: see SECURITY.md. */
const PROXIES = [
  'Forwarded',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'X-Real-IP',
  'CF-Connecting-IP',
  'Via',
];
const LOOPBACK = /^(?:::1|(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/;
const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/;

export const docsRoutes = router()
  .get('/openapi.json', openapi, (c) => asset(c, 'openapi.json'))
  .get('/docs', docs, async (c) => {
    setHeader(c, 'Content-Security-Policy', POLICY);
    return html(c, page(isAtThisMachine(c) ? await c.env.developmentToken?.() : undefined));
  });
