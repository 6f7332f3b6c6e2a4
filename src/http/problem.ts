import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { DbError } from '../db.ts';
import { AppError, type ErrorCode, type FieldError } from '../errors.ts';
import { body, setHeader } from './answer.ts';
import type { Ctx } from './context.ts';
import { type Constraint, words } from './resource.ts';

type Problem = {
  status: ContentfulStatusCode;
  title: string;
  meaning: string;
  remedy: string;
  example: { detail: string; errors?: FieldError[] };
};

/** The status and title of each error code, and the text of its page at `/problems/:name`. */
export const problems: Record<ErrorCode, Problem> = {
  'malformed-request': {
    status: 400,
    title: 'Malformed request',
    meaning: 'The request is not valid HTTP, or it is ambiguous.',
    remedy: 'Send one Host header, a valid URI, and either Content-Length or Transfer-Encoding: chunked.',
    example: { detail: 'The request is not valid HTTP.' },
  },
  'malformed-json': {
    status: 400,
    title: 'Malformed JSON',
    meaning: 'The request body is not valid JSON, or not UTF-8.',
    remedy: 'Send one JSON value, encoded as UTF-8.',
    example: { detail: 'The request body is not valid JSON.' },
  },
  'invalid-cursor': {
    status: 400,
    title: 'Invalid cursor',
    meaning: 'The cursor is malformed, or belongs to another list or other filters.',
    remedy: 'Use nextCursor unchanged and with the same filters, or start again without a cursor.',
    example: { detail: 'The cursor is not valid for this list.' },
  },
  'invalid-idempotency-key': {
    status: 400,
    title: 'Invalid Idempotency-Key',
    meaning: 'The Idempotency-Key header is neither a quoted string nor a bare token of 1 to 255 characters.',
    remedy: 'Generate a unique key for each operation, for example Idempotency-Key: "8e03978e-40d5-43dd-bc93".',
    example: { detail: 'The key must be a quoted string or a bare token of 1 to 255 characters.' },
  },
  unauthorized: {
    status: 401,
    title: 'Unauthorized',
    meaning: 'The request has no bearer token, or the token is expired, not yet valid, or not valid for this service.',
    remedy: 'Get a new token and send it in the header Authorization: Bearer <token>.',
    example: { detail: 'The request has no bearer token.' },
  },
  'insufficient-scope': {
    status: 403,
    title: 'Insufficient scope',
    meaning: 'The token is valid, but lacks the scope that this operation requires.',
    remedy: 'Get a token with the scope in the WWW-Authenticate header.',
    example: { detail: 'This operation requires the scope webhooks:write.' },
  },
  'not-found': {
    status: 404,
    title: 'Not found',
    meaning: 'The path does not exist, or no resource has this id.',
    remedy: 'Check the path and the id. A deleted resource cannot be restored.',
    example: { detail: 'There is no such webhook endpoint.' },
  },
  'method-not-allowed': {
    status: 405,
    title: 'Method not allowed',
    meaning: 'The path exists, but does not support this method.',
    remedy: 'Use one of the methods in the Allow header.',
    example: { detail: 'Use one of GET, HEAD, POST.' },
  },
  'request-timeout': {
    status: 408,
    title: 'Request timeout',
    meaning: 'The headers or the body of the request did not arrive in time.',
    remedy: 'Retry on a new connection. If the problem persists, check the network.',
    example: { detail: 'The request did not arrive in time.' },
  },
  conflict: {
    status: 409,
    title: 'Conflict',
    meaning: 'The state of the resource does not permit the operation.',
    remedy: 'Fetch the resource again before retrying.',
    example: { detail: 'Only a dead notification can be redriven.' },
  },
  'email-taken': {
    status: 409,
    title: 'Email already taken',
    meaning: 'Another user has this email address (case-insensitive).',
    remedy: 'Use another address, or find the user with GET /api/v1/users?email=.',
    example: { detail: 'Another user has this email address.' },
  },
  'precondition-failed': {
    status: 412,
    title: 'Precondition failed',
    meaning: 'The resource has changed since the version in If-Match.',
    remedy: 'Fetch the resource again, apply your change to it, and send its new ETag in If-Match.',
    example: { detail: 'The webhook endpoint has changed since the version in If-Match.' },
  },
  'content-too-large': {
    status: 413,
    title: 'Content too large',
    meaning: 'The request body exceeds the size limit.',
    remedy: 'Send a smaller body. The default limit is 64 KiB.',
    example: { detail: 'The request body exceeds 65536 bytes.' },
  },
  'unsupported-media-type': {
    status: 415,
    title: 'Unsupported media type',
    meaning: 'The Content-Type of the request is not a JSON type.',
    remedy: 'Send Content-Type: application/json.',
    example: { detail: 'The Content-Type must be application/json.' },
  },
  'validation-failed': {
    status: 422,
    title: 'Validation failed',
    meaning: 'Some values in the request are invalid.',
    remedy: 'Correct each value in errors: pointer is a member of the body, parameter a query parameter or a header.',
    example: {
      detail: 'Some values are invalid. See errors.',
      errors: [
        { detail: 'must be an email address', pointer: '#/email' },
        { detail: 'must be a whole number from 1 to 100', parameter: 'limit' },
      ],
    },
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'Idempotency-Key reused',
    meaning: 'The Idempotency-Key was used with a different payload.',
    remedy: 'Use a new key for each operation. Reuse a key only to retry the same request.',
    example: { detail: 'The Idempotency-Key was used with a different payload.' },
  },
  'headers-too-large': {
    status: 431,
    title: 'Request header fields too large',
    meaning: 'The request headers exceed the size limit, which is 16 KiB on Node.',
    remedy: 'Send fewer or shorter headers. Check the size of cookies and tokens.',
    example: { detail: 'The request headers are too large.' },
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    meaning: 'The quota in RateLimit-Policy is used up.',
    remedy: 'Retry after the number of seconds in Retry-After.',
    example: { detail: 'Too many requests. Retry after 17 s.' },
  },
  internal: {
    status: 500,
    title: 'Internal server error',
    meaning: 'The service failed to process the request.',
    remedy: 'Retry later. If the problem persists, report the requestId.',
    example: { detail: 'An internal error occurred.' },
  },
  unavailable: {
    status: 503,
    title: 'Service unavailable',
    meaning: 'A dependency is unavailable, or the service is overloaded or shutting down. Nothing was written.',
    remedy: 'Retry after the number of seconds in Retry-After, with the same Idempotency-Key.',
    example: { detail: 'The database is unavailable.' },
  },
  timeout: {
    status: 504,
    title: 'Deadline exceeded',
    meaning: 'The operation exceeded the deadline and was canceled. Nothing was written, and nothing will be.',
    remedy: 'Retry. If the request is a POST, use the same Idempotency-Key.',
    example: { detail: 'The operation exceeded the deadline and was canceled.' },
  },
  'outcome-unknown': {
    status: 504,
    title: 'Outcome unknown',
    meaning: 'The database did not confirm in time whether the write took effect. It may have, or may still do so.',
    remedy:
      'POST with an Idempotency-Key: retry with the same key. The request takes effect once, and you get the response of the first attempt. POST without a key: wait for a minute, then fetch the resource or its list before retrying. PUT: retry. If you sent If-Match and the retry returns 412, fetch the resource and compare: the first attempt may have taken effect. DELETE: retry. A 404 means that the resource is deleted.',
    example: { detail: 'The database did not confirm in time whether the write took effect.' },
  },
};

/** An example of a problem. */
export function exampleOf(code: ErrorCode) {
  const { status, title, example } = problems[code];
  const instance = '/api/v1/webhook-endpoints/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const requestId = '0d4a35ea-3a4b-4f0c-9d6a-2b8e0c0f2f5e';
  return { type: `/problems/${code}`, title, status, instance, requestId, ...example };
}

// A path may not be a valid URI: URL permits a stray % and some other characters.
const NOT_IN_A_URI = /%(?![0-9a-f]{2})|[^\w\-.~!$&'()*+,;=:@/%]/gi;

/** Responds with the error as `application/problem+json` (RFC 9457). */
export function problemResponse(c: Ctx, error: AppError): Response {
  const { status, title } = problems[error.code];
  const { origin, pathname } = new URL(c.req.url);
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

// Of a foreign key: on DELETE a row still refers to this one; on any other method the parent is missing.
function violation({ detail, code = 'conflict', pointer, parent }: Constraint, c: Ctx): AppError {
  const errorsOf = (what: string) => (pointer ? { errors: [{ detail: what, pointer }] } : {});
  if (!parent) return new AppError(code, detail, errorsOf('is already taken'));
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
  if (error instanceof HTTPException && error.status === 415) {
    return new AppError('unsupported-media-type', 'The Content-Type must be application/json.');
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

/** The error of a write that may have taken effect. Rings the dispatchers: it may have enqueued deliveries. */
export function outcomeUnknown(c: Ctx): AppError {
  c.env.wake();
  return new AppError('outcome-unknown', 'The database did not confirm in time whether the write took effect.');
}
