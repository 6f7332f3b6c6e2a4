/** @jsxImportSource hono/jsx */
import { csrf } from 'hono/csrf';
import { createMiddleware } from 'hono/factory';
import { HTTPException } from 'hono/http-exception';
import type { JSX } from 'hono/jsx/jsx-runtime';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Db } from '../db.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { body, empty, setHeader } from '../http/answer.ts';
import type { Ctx, Env } from '../http/context.ts';
import { cursorTo, pageOfQuery, pageOfRows } from '../http/page.ts';
import { mayWrite, notFound, problems, toAppError } from '../http/problem.ts';
import { Page } from './layout.tsx';
import type { UNCHANGED } from './parts.tsx';

/** Permits scripts, styles, requests and forms of this origin only, and none inline. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

export const pageHeaders = createMiddleware<Env>(async (c, next) => {
  setHeader(c, 'Content-Security-Policy', POLICY);
  // With no-referrer, browsers send forms without their origin.
  setHeader(c, 'Referrer-Policy', 'same-origin');
  // A page that opened this one cannot navigate it afterwards.
  setHeader(c, 'Cross-Origin-Opener-Policy', 'same-origin');
  await next();
});

const FORM = 'application/x-www-form-urlencoded';
const sameOrigin = csrf();

/** Reads a form. Refuses those that another site sent, by Sec-Fetch-Site or Origin, and POSTs that are not forms. */
export const sameOriginForms = createMiddleware<Env>(async (c, next) => {
  if (c.req.method !== 'POST') return next();
  if (c.req.header('Content-Type')?.split(';', 1)[0]?.trim().toLowerCase() !== FORM) {
    throw new AppError('unsupported-media-type', `The Content-Type must be ${FORM}.`);
  }
  return sameOrigin(c, async () => {
    c.set('form', new URLSearchParams(await c.req.text()));
    await next();
  });
});

/** The maximum numbers of forms in progress that need no session: their senders decide how long each takes. */
const MAX_WITHOUT_SESSION = 200;
const MAX_OF_A_NETWORK = 20;
let withoutSession = 0;
const ofNetwork = new Map<string, number>();

/** Refuses a form if too many are in progress, in all or from the client's network. */
export const limitConcurrentForms = createMiddleware<Env>(async (c, next) => {
  if (!mayWrite(c)) return next();
  const { networkOf } = await import('../http/client-network.ts');
  const network = networkOf(c.env.clientAddress);
  const its = ofNetwork.get(network) ?? 0;
  if (withoutSession >= MAX_WITHOUT_SESSION || its >= MAX_OF_A_NETWORK) {
    throw new AppError('unavailable', 'Too many forms are in progress.', { headers: { 'Retry-After': '1' } });
  }
  withoutSession++;
  ofNetwork.set(network, its + 1);
  try {
    await next();
  } finally {
    withoutSession--;
    const left = (ofNetwork.get(network) ?? 1) - 1;
    if (left > 0) ofNetwork.set(network, left);
    else ofNetwork.delete(network);
  }
});

/** The fields of the form that was sent. If a name repeats, the last value counts. */
export function formOf(c: Ctx): Record<string, string | undefined> {
  return Object.fromEntries(c.get('form') ?? []);
}

/** The version that the form's page showed. If the form has none: 0, which no resource has. */
export const versionOf = (c: Ctx): number => Number(/^[1-9]\d{0,8}$/.exec(formOf(c).version ?? '') ?? 0);

/** The idempotency key of the form that was sent. If the form has none: a new one each time. */
export const keyOf = (c: Ctx): string => formOf(c).key ?? crypto.randomUUID();

/** Responds with a page. */
export async function render(c: Ctx, page: JSX.Element, status: ContentfulStatusCode = 200): Promise<Response> {
  return body(c, `<!doctype html>${await page.toString()}`, 'text/html; charset=UTF-8', status);
}

/** How many rows a page of a list has. */
export const PAGE_ROWS = 20;

type ListRows<Row, Filters> = (
  db: Db,
  page: Filters & { limit: number; after: string | null },
  signal: AbortSignal,
) => Promise<Row[]>;

/** Returns the page of a list that the URL requests, and the next cursor. Throws AppError `invalid-cursor`. */
export async function listed<Row extends { id: string }, Filters extends object>(
  c: Ctx,
  list: ListRows<Row, Filters>,
  filters: Filters,
) {
  const query = { ...filters, limit: PAGE_ROWS, cursor: c.req.query('cursor') };
  const rows = await list(c.env.db, { ...filters, ...pageOfQuery(c, query) }, c.get('signal'));
  const { data, next } = pageOfRows(query, rows);
  return { data, cursor: cursorTo(c, query, next) };
}

/** Responds 303: the requested action is done, and reloading the page does not repeat it. */
export function seeOther(c: Ctx, path: string): Response {
  setHeader(c, 'Location', path);
  return empty(c, 303);
}

/** The names of the notices to show afterwards. */
type Then = { done?: string; unchanged?: keyof typeof UNCHANGED };

/**
 * Performs a form's action, and redirects to the page of its subject, even if the subject had already changed, as after
 * a second click.
 */
export async function unlessChanged(
  c: Ctx,
  path: string,
  act: () => Promise<unknown>,
  { done, unchanged = 'before' }: Then = {},
): Promise<Response> {
  try {
    await act();
    return seeOther(c, done ? `${path}?done=${done}` : path);
  } catch (error) {
    if (!(error instanceof AppError && /^(?:conflict|precondition-failed)$/.test(error.code))) throw error;
    return seeOther(c, `${path}?done=${unchanged}`);
  }
}

/** What an operator can do about an error. Without advice, the page has only the error's own message. */
const ADVICE: Partial<Record<ErrorCode, string>> = {
  'insufficient-scope': 'Sign in with a token that has it.',
  timeout: 'The database is slow. Nothing was changed. Try again in a moment.',
  unavailable: 'Nothing was changed. Try again in a moment.',
  'outcome-unknown':
    'The change may have taken effect, or may still do so. Check again in a minute before you repeat it.',
  internal: 'The log has the cause, under the request id.',
};

/** Responds to anything thrown with a page that says what happened. */
export function errorPage(error: Error, c: Ctx): Promise<Response> {
  if (error instanceof HTTPException && error.status === 403) {
    return problemPage(c, { status: 403, title: 'Not from the console', detail: FORGED });
  }
  const { code, message, headers } = toAppError(error, c);
  for (const [name, value] of Object.entries(headers)) setHeader(c, name, value);
  const { status, title } = problems[code];
  return problemPage(c, { status, title, detail: message, advice: ADVICE[code] });
}

const FORGED = 'Another site sent this form, or your browser did not say which site did. Nothing was changed.';

/** For what a page shows besides its subject: returns undefined if it is gone. Rethrows any other error. */
export function unlessGone(error: unknown): undefined {
  if (!(error instanceof AppError && error.code === 'not-found')) throw error;
}

export const notFoundPage = (c: Ctx): Promise<Response> => errorPage(notFound(), c);

type Shown = { status: ContentfulStatusCode; title: string; detail: string; advice?: string | undefined };

function problemPage(c: Ctx, { status, title, detail, advice }: Shown) {
  return render(
    c,
    <Page c={c} title={title}>
      <div class="card stack" role="alert">
        <p>{detail}</p>
        {advice && <p>{advice}</p>}
        <p class="quiet">
          Status {status} · request <code>{c.get('requestId')}</code>
        </p>
      </div>
      <p>
        <a href="/console">Go to the overview</a>
      </p>
    </Page>,
    status,
  );
}
