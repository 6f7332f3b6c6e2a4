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

/** Scripts, styles, requests and forms of this origin only, and none inline. */
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
  await next();
});

const FORM = 'application/x-www-form-urlencoded';
const sameOrigin = csrf();

/** Refuses a form that another site sent, by Sec-Fetch-Site or Origin, and a POST that is no form. */
export const ownForms = createMiddleware<Env>(async (c, next) => {
  if (c.req.method !== 'POST') return next();
  if (c.req.header('Content-Type')?.split(';', 1)[0]?.trim().toLowerCase() !== FORM) {
    throw new AppError('unsupported-media-type', `The Content-Type must be ${FORM}.`);
  }
  return sameOrigin(c, async () => {
    c.set('form', new URLSearchParams(await c.req.text()));
    await next();
  });
});

/** How many forms may be on their way that need no session: their senders decide how long that takes. */
const MOST_WITHOUT_SESSION = 200;
let withoutSession = 0;

/** Refuses a form if too many are on their way. */
export const fewAtOnce = createMiddleware<Env>(async (c, next) => {
  if (!mayWrite(c)) return next();
  if (withoutSession >= MOST_WITHOUT_SESSION) {
    throw new AppError('unavailable', 'Too many forms are on their way.', { headers: { 'Retry-After': '1' } });
  }
  withoutSession++;
  try {
    await next();
  } finally {
    withoutSession--;
  }
});

/** The fields of the form that was sent. Of several with one name, the last. */
export function formOf(c: Ctx): Record<string, string | undefined> {
  return Object.fromEntries(c.get('form') ?? []);
}

/** The version of what a form's page showed. Of a form without one, 0, which nothing has. */
export const versionOf = (c: Ctx): number => Number(/^[1-9]\d{0,8}$/.exec(formOf(c).version ?? '') ?? 0);

/** The idempotency key of the form that was sent: of one without, another each time. */
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

/** The page of a list that the address asks for, and the cursor of the next one. Throws AppError `invalid-cursor`. */
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

/** Responds 303: what was asked for is done, and reloading the page does not do it again. */
export function seeOther(c: Ctx, path: string): Response {
  setHeader(c, 'Location', path);
  return empty(c, 303);
}

/** The names of the notices to show then. */
type Then = { done?: string; unchanged?: keyof typeof UNCHANGED };

/**
 * Does what a form asks for, and goes on to the page of what it is about; there too if that had changed, as with a second
 * click.
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

/** What an operator can do about it; otherwise the page has the error's own words. */
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

const FORGED = 'Another site sent this form, or your browser does not say which one did. Nothing was changed.';

/** For what a page shows beside its subject: undefined if it is gone. Throws any other error. */
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
