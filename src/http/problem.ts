import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { DbError } from '../db.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import { body, setHeader } from './answer.ts';
import { type Ctx, urlOf } from './context.ts';
import { type Constraint, words } from './resource.ts';

/** The status and title of each error code. */
export const problems: Record<ErrorCode, { status: ContentfulStatusCode; title: string }> = {
  'malformed-request': { status: 400, title: 'Malformed request' },
  'malformed-json': { status: 400, title: 'Malformed JSON' },
  'invalid-cursor': { status: 400, title: 'Invalid cursor' },
  'invalid-idempotency-key': { status: 400, title: 'Invalid Idempotency-Key' },
  unauthorized: { status: 401, title: 'Unauthorized' },
  'insufficient-scope': { status: 403, title: 'Insufficient scope' },
  'not-found': { status: 404, title: 'Not found' },
  'method-not-allowed': { status: 405, title: 'Method not allowed' },
  'request-timeout': { status: 408, title: 'Request timeout' },
  conflict: { status: 409, title: 'Conflict' },
  'email-taken': { status: 409, title: 'Email already taken' },
  'precondition-failed': { status: 412, title: 'Precondition failed' },
  'content-too-large': { status: 413, title: 'Content too large' },
  'unsupported-media-type': { status: 415, title: 'Unsupported media type' },
  'validation-failed': { status: 422, title: 'Validation failed' },
  'idempotency-key-reused': { status: 422, title: 'Idempotency-Key reused' },
  'headers-too-large': { status: 431, title: 'Request header fields too large' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  internal: { status: 500, title: 'Internal server error' },
  unavailable: { status: 503, title: 'Service unavailable' },
  timeout: { status: 504, title: 'Deadline exceeded' },
  'outcome-unknown': { status: 504, title: 'Outcome unknown' },
};

// A path is not always a valid URI: URL permits a stray % and some other characters.
const NOT_IN_A_URI = /%(?![0-9a-f]{2})|[^\w\-.~!$&'()*+,;=:@/%]/gi;

/** Responds with the error as `application/problem+json` (RFC 9457). */
export function problemResponse(c: Ctx, error: AppError): Response {
  const { status, title } = problems[error.code];
  const { origin, pathname } = new URL(urlOf(c));
  const problem = {
    type: `${origin}/problems/${error.code}`,
    title,
    status,
    detail: error.message,
    instance: pathname.replace(NOT_IN_A_URI, encodeURIComponent),
    requestId: c.get('requestId'),
    ...(error.errors && { errors: error.errors }),
  };
  for (const [name, value] of Object.entries(error.headers)) setHeader(c, name, value);
  setHeader(c, 'Cache-Control', 'no-store');
  return body(c, JSON.stringify(problem), 'application/problem+json', status);
}

/**
 * Maps anything thrown to a problem. Unknown errors are logged and become `internal`. `constraints` is called once, at
 * the first violation.
 */
export function onError(constraints: () => Record<string, Constraint>) {
  let known: Record<string, Constraint> | undefined;
  return (error: Error, c: Ctx): Response => {
    if (error instanceof DbError && error.constraint !== undefined) {
      known ??= constraints();
      const violated = known[error.constraint];
      if (violated) return problemResponse(c, violation(violated, c));
    }
    return problemResponse(c, toAppError(error, c));
  };
}

// For a foreign key: on DELETE, a row still refers to this one; on any other method, the parent is missing.
function violation({ detail, code = 'conflict', pointer, error, parent }: Constraint, c: Ctx): AppError {
  const errorsOf = (what: string) => (pointer ? { errors: [{ detail: what, pointer }] } : {});
  if (!parent) return new AppError(code, detail, errorsOf(error ?? 'is already taken'));
  if (c.req.method === 'DELETE') return new AppError(code, detail);
  const extra = errorsOf(`there is no such ${words(parent)}`);
  return new AppError('validation-failed', 'Some values are invalid. See errors.', extra);
}

export function notFound(): AppError {
  return new AppError('not-found', 'There is no such resource.');
}

/** The error that a client gets for anything thrown. Logs what is not the client's fault. */
export function toAppError(error: Error, c: Ctx): AppError {
  if (error instanceof AppError) return error;
  const failure = error instanceof DbError ? error.failure : undefined;
  if (failure === 'unknown' && mayWrite(c)) {
    c.env.log.error('outcome unknown', { requestId: c.get('requestId'), error });
    return outcomeUnknown(c);
  }
  if (c.get('signal')?.aborted || failure === 'canceled') return deadlineExceeded();
  if (failure === 'unavailable' || failure === 'unknown') {
    c.env.log.error('database unavailable', { requestId: c.get('requestId'), error });
    return new AppError('unavailable', 'The database is unavailable.', { headers: { 'Retry-After': '1' } });
  }
  if (error instanceof HTTPException && error.status === 400) {
    return new AppError('malformed-json', 'The request body is not valid JSON.');
  }
  c.env.log.error('request failed', { requestId: c.get('requestId'), error });
  return new AppError('internal', 'An internal error occurred.');
}

/** Whether the request may write. */
export function mayWrite(c: Ctx): boolean {
  return c.req.method !== 'GET' && c.req.method !== 'HEAD';
}

export function deadlineExceeded(): AppError {
  return new AppError('timeout', 'The operation exceeded the deadline and was canceled.');
}

/** The error of a write that may have taken effect. Rings the dispatchers: the write may have enqueued deliveries. */
export function outcomeUnknown(c: Ctx): AppError {
  c.env.wake();
  return new AppError('outcome-unknown', 'The database did not confirm in time whether the write took effect.');
}
