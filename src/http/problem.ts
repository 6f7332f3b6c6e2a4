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

/** What each error code is over HTTP, and what its page at `/problems/:name` tells a developer. */
export const problems: Record<ErrorCode, Problem> = {
  'malformed-request': {
    status: 400,
    title: 'Malformed request',
    meaning: 'The request is not HTTP, or it can be read in more than one way.',
    remedy: 'Send one Host header, a target that is a URI, and either Content-Length or Transfer-Encoding: chunked.',
    example: { detail: 'The request is not well-formed HTTP.' },
  },
  'malformed-json': {
    status: 400,
    title: 'Malformed JSON',
    meaning: 'The body could not be read as JSON.',
    remedy: 'Send one JSON value, encoded as UTF-8, and check it with a JSON parser first.',
    example: { detail: 'The body is not valid JSON.' },
  },
  'invalid-cursor': {
    status: 400,
    title: 'Invalid cursor',
    meaning: 'The cursor is damaged, or it was given out for another list or other filters.',
    remedy: 'Use nextCursor exactly as it came, with the filters it came with, or start again without a cursor.',
    example: { detail: 'The cursor is not one that this list gave out.' },
  },
  'invalid-idempotency-key': {
    status: 400,
    title: 'Invalid Idempotency-Key',
    meaning: 'The Idempotency-Key header is neither a quoted string nor a bare token of 1 to 255 characters.',
    remedy: 'Send a fresh unique key for each operation, for example Idempotency-Key: "8e03978e-40d5-43dd-bc93".',
    example: { detail: 'The key is neither a quoted string nor a bare token of 1 to 255.' },
  },
  unauthorized: {
    status: 401,
    title: 'Unauthorized',
    meaning: 'The request carries no bearer token, or one that is expired, not yet valid, or not signed for here.',
    remedy: 'Get a new token and send it as Authorization: Bearer <token>.',
    example: { detail: 'No token was sent.' },
  },
  'insufficient-scope': {
    status: 403,
    title: 'Insufficient scope',
    meaning: 'The token is valid, but does not carry the scope that this operation needs.',
    remedy: 'Ask for a token with the scope that the WWW-Authenticate header names.',
    example: { detail: 'This needs a token with the scope webhooks:write.' },
  },
  'not-found': {
    status: 404,
    title: 'Not found',
    meaning: 'Nothing is here: the path does not exist, or no resource has this id.',
    remedy: 'Check the path and the id. A resource that was deleted does not come back.',
    example: { detail: 'There is no such webhook endpoint.' },
  },
  'method-not-allowed': {
    status: 405,
    title: 'Method not allowed',
    meaning: 'The path exists, but not with this method.',
    remedy: 'Use one of the methods in the Allow header.',
    example: { detail: 'Use one of GET, HEAD, POST.' },
  },
  'request-timeout': {
    status: 408,
    title: 'Request timeout',
    meaning: 'The headers or the body of the request did not arrive in time.',
    remedy: 'Send the request again on a new connection. If it goes on, look for what slows the network down.',
    example: { detail: 'The request did not arrive in time.' },
  },
  conflict: {
    status: 409,
    title: 'Conflict',
    meaning: 'The resource is in a state that does not permit the operation.',
    remedy: 'Read the resource again and decide anew.',
    example: { detail: 'Only a dead notification can be redriven.' },
  },
  'email-taken': {
    status: 409,
    title: 'Email already taken',
    meaning: 'Another user has this email address. Case makes no difference.',
    remedy: 'Use another address, or find the user who has it with GET /api/v1/users?email=.',
    example: { detail: 'Another user has this email address.' },
  },
  'precondition-failed': {
    status: 412,
    title: 'Precondition failed',
    meaning: 'The resource has changed since the version that If-Match names.',
    remedy: 'GET the resource again, apply your change to what it is now, and send its new ETag.',
    example: { detail: 'The endpoint has changed since that version.' },
  },
  'content-too-large': {
    status: 413,
    title: 'Content too large',
    meaning: 'The body is larger than this service accepts.',
    remedy: 'Send less. The limit is 64 KiB unless the operator set another.',
    example: { detail: 'The body is larger than 65536 bytes.' },
  },
  'unsupported-media-type': {
    status: 415,
    title: 'Unsupported media type',
    meaning: 'The body is not declared as JSON.',
    remedy: 'Send Content-Type: application/json.',
    example: { detail: 'The body must be declared as application/json.' },
  },
  'validation-failed': {
    status: 422,
    title: 'Validation failed',
    meaning: 'The request was understood, but some of its values are not acceptable.',
    remedy: 'Correct every entry of errors: pointer names a member of the body, parameter a query parameter or header.',
    example: {
      detail: 'Some values are not acceptable; see errors.',
      errors: [
        { detail: 'must be an email address', pointer: '#/email' },
        { detail: 'must be a whole number from 1 to 100', parameter: 'limit' },
      ],
    },
  },
  'idempotency-key-reused': {
    status: 422,
    title: 'Idempotency-Key reused',
    meaning: 'This key was used before with another payload.',
    remedy: 'Use a fresh key for a new operation, and the same key only to repeat the very same request.',
    example: { detail: 'This Idempotency-Key was used before with another payload.' },
  },
  'headers-too-large': {
    status: 431,
    title: 'Request header fields too large',
    meaning: 'The headers of the request are larger than this service accepts, 16 KiB on Node.',
    remedy: 'Send fewer or shorter headers; look for a cookie or a token that has grown.',
    example: { detail: 'The request headers are too large.' },
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    meaning: 'The quota named by RateLimit-Policy is used up.',
    remedy: 'Wait for as many seconds as Retry-After says.',
    example: { detail: 'Too many requests; try again in 17 s.' },
  },
  internal: {
    status: 500,
    title: 'Internal server error',
    meaning: 'Something failed that is not your fault.',
    remedy: 'Try again later. If it goes on, report the requestId.',
    example: { detail: 'Something went wrong on our side.' },
  },
  unavailable: {
    status: 503,
    title: 'Service unavailable',
    meaning:
      'The service cannot do its work now: something it needs is out of reach, or it is shutting down. Nothing was written.',
    remedy: 'Try again after as many seconds as Retry-After says, with the same Idempotency-Key.',
    example: { detail: 'The database is out of reach.' },
  },
  timeout: {
    status: 504,
    title: 'Deadline exceeded',
    meaning: 'The work took longer than the deadline and was cancelled. Nothing was written, and nothing will be.',
    remedy: 'Try again, with the same Idempotency-Key if it was a POST.',
    example: { detail: 'The deadline passed before the work was done; it was cancelled.' },
  },
  'outcome-unknown': {
    status: 504,
    title: 'Outcome unknown',
    meaning: 'The database did not say in time whether the write took effect. It may have, or may be about to.',
    remedy:
      'POST with an Idempotency-Key: send the same request again with the same key. It has one effect, and answers with what became of the first. POST without a key: wait for a minute, then GET the resource, or the list that it would be in, before you try again. PUT: send it again; where it carried If-Match and the answer is 412, GET the resource and compare, as the first may have taken effect. DELETE: send it again; a 404 means that it is gone.',
    example: { detail: 'The database did not say in time whether the write took effect.' },
  },
};

/** A problem as a client might see it. */
export function exampleOf(code: ErrorCode) {
  const { status, title, example } = problems[code];
  const instance = '/api/v1/webhook-endpoints/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const requestId = '0d4a35ea-3a4b-4f0c-9d6a-2b8e0c0f2f5e';
  return { type: `/problems/${code}`, title, status, instance, requestId, ...example };
}

// A request's path may be less than a URI: a % of its own, or characters that URL lets pass.
const NOT_IN_A_URI = /%(?![0-9a-f]{2})|[^\w\-.~!$&'()*+,;=:@/%]/gi;

/** RFC 9457: the whole error as `application/problem+json`. */
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
 * The one mapper from anything thrown to a problem. What it does not know is logged and answered as `internal`.
 * `constraints` is called with the first violation of one.
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

// Of a foreign key: on DELETE someone refers to the row; on any other method the parent is missing.
function violation({ detail, code = 'conflict', pointer, parent }: Constraint, c: Ctx): AppError {
  const errorsOf = (what: string) => (pointer ? { errors: [{ detail: what, pointer }] } : {});
  if (!parent) return new AppError(code, detail, errorsOf('is taken'));
  if (c.req.method === 'DELETE') return new AppError(code, detail);
  const extra = errorsOf(`there is no such ${words(parent)}`);
  return new AppError('validation-failed', 'Some values are not acceptable; see errors.', extra);
}

export function notFound(): AppError {
  return new AppError('not-found', 'Nothing is here.');
}

function toAppError(error: Error, c: Ctx): AppError {
  if (error instanceof AppError) return error;
  const failure = error instanceof DbError ? error.failure : undefined;
  if (failure === 'unknown' && mayWrite(c)) {
    c.env.log.error('outcome unknown', { requestId: c.get('requestId'), error });
    return outcomeUnknown(c);
  }
  if (c.get('signal')?.aborted || failure === 'canceled') return deadlineExceeded();
  if (failure === 'unavailable' || failure === 'unknown') {
    c.env.log.error('database unavailable', { requestId: c.get('requestId'), error });
    return new AppError('unavailable', 'The database is out of reach.', { headers: { 'Retry-After': '1' } });
  }
  if (error instanceof HTTPException && error.status === 400) {
    return new AppError('malformed-json', 'The body is not valid JSON.');
  }
  if (error instanceof HTTPException && error.status === 415) {
    return new AppError('unsupported-media-type', 'The body must be declared as application/json.');
  }
  c.env.log.error('request failed', { requestId: c.get('requestId'), error });
  return new AppError('internal', 'Something went wrong on our side.');
}

/** Whether the request may change something, so that its outcome matters. */
export function mayWrite(c: Ctx): boolean {
  return c.req.method !== 'GET' && c.req.method !== 'HEAD';
}

export function deadlineExceeded(): AppError {
  return new AppError('timeout', 'The deadline passed before the work was done; it was cancelled.');
}

/** Of a write that may have been done: what it would have queued is looked for at once. */
export function outcomeUnknown(c: Ctx): AppError {
  c.env.wake();
  return new AppError('outcome-unknown', 'The database did not say in time whether the write took effect.');
}
