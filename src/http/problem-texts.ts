import type { ErrorCode, FieldError } from '../errors.ts';
import { problems } from './problem.ts';

type Text = {
  meaning: string;
  remedy: string;
  example: { detail: string; errors?: FieldError[] };
};

/** What the page at `/problems/:name` and the API reference say about each problem. */
export const problemTexts: Record<ErrorCode, Text> = {
  'malformed-request': {
    meaning: 'The request is not valid HTTP, or it is ambiguous.',
    remedy: 'Send one Host header, a valid URI, and either Content-Length or Transfer-Encoding: chunked.',
    example: { detail: 'The request is not valid HTTP.' },
  },
  'malformed-json': {
    meaning: 'The request body is not valid JSON, or not UTF-8.',
    remedy: 'Send one JSON value, encoded as UTF-8.',
    example: { detail: 'The request body is not valid JSON.' },
  },
  'invalid-cursor': {
    meaning: 'The cursor is malformed, or belongs to another list or other filters.',
    remedy: 'Use nextCursor unchanged and with the same filters, or start again without a cursor.',
    example: { detail: 'The cursor is not valid for this list.' },
  },
  'invalid-idempotency-key': {
    meaning: 'The Idempotency-Key header is neither a quoted string nor a bare token of 1 to 255 characters.',
    remedy: 'Generate a unique key for each operation, for example Idempotency-Key: "8e03978e-40d5-43dd-bc93".',
    example: { detail: 'The key must be a quoted string or a bare token of 1 to 255 characters.' },
  },
  unauthorized: {
    meaning: 'The request has no bearer token, or the token is expired, not yet valid, or not valid for this service.',
    remedy: 'Get a new token and send it in the header Authorization: Bearer <token>.',
    example: { detail: 'The request has no bearer token.' },
  },
  'insufficient-scope': {
    meaning: 'The token is valid, but lacks the scope that this operation requires.',
    remedy: 'Get a token with the scope in the WWW-Authenticate header.',
    example: { detail: 'This operation requires the scope webhooks:write.' },
  },
  'not-found': {
    meaning: 'The path does not exist, or no resource has this id.',
    remedy: 'Check the path and the id. A deleted resource cannot be restored.',
    example: { detail: 'There is no such webhook endpoint.' },
  },
  'method-not-allowed': {
    meaning: 'The path exists, but does not support this method.',
    remedy: 'Use one of the methods in the Allow header.',
    example: { detail: 'Use one of GET, HEAD, POST.' },
  },
  'request-timeout': {
    meaning: 'The headers or the body of the request did not arrive in time.',
    remedy: 'Retry on a new connection. If the problem persists, check the network.',
    example: { detail: 'The request did not arrive in time.' },
  },
  conflict: {
    meaning: 'The state of the resource does not permit the operation.',
    remedy: 'Fetch the resource again before retrying.',
    example: { detail: 'Only a dead notification can be redriven.' },
  },
  'email-taken': {
    meaning: 'Another user has this email address (case-insensitive).',
    remedy: 'Use another address, or find the user with GET /api/v1/users?email=.',
    example: { detail: 'Another user has this email address.' },
  },
  'precondition-failed': {
    meaning: 'The resource has changed since the version in If-Match.',
    remedy: 'Fetch the resource again, apply your change to it, and send its new ETag in If-Match.',
    example: { detail: 'The webhook endpoint has changed since the version in If-Match.' },
  },
  'content-too-large': {
    meaning: 'The request body exceeds the size limit.',
    remedy: 'Send a smaller body. The default limit is 64 KiB.',
    example: { detail: 'The request body exceeds 65536 bytes.' },
  },
  'unsupported-media-type': {
    meaning: 'The Content-Type is not a JSON type, or the body has a Content-Encoding.',
    remedy: 'Send Content-Type: application/json, without Content-Encoding.',
    example: { detail: 'The Content-Type must be application/json.' },
  },
  'validation-failed': {
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
    meaning: 'The Idempotency-Key was used with a different payload.',
    remedy: 'Use a new key for each operation. Reuse a key only to retry the same request.',
    example: { detail: 'The Idempotency-Key was used with a different payload.' },
  },
  'headers-too-large': {
    meaning: 'The request headers exceed the size limit, which is 16 KiB on Node.',
    remedy: 'Send fewer or shorter headers. Check the size of cookies and tokens.',
    example: { detail: 'The request headers are too large.' },
  },
  'rate-limited': {
    meaning: 'The quota in RateLimit-Policy is used up.',
    remedy: 'Retry after the number of seconds in Retry-After.',
    example: { detail: 'Too many requests. Retry after 17 s.' },
  },
  internal: {
    meaning: 'The service failed to process the request.',
    remedy: 'Retry later. If the problem persists, report the requestId.',
    example: { detail: 'An internal error occurred.' },
  },
  unavailable: {
    meaning: 'A dependency is unavailable, or the service is overloaded or shutting down. Nothing was written.',
    remedy: 'Retry after the number of seconds in Retry-After, with the same Idempotency-Key.',
    example: { detail: 'The database is unavailable.' },
  },
  timeout: {
    meaning: 'The operation exceeded the deadline and was canceled. Nothing was written, and nothing will be.',
    remedy: 'Retry. If the request is a POST, use the same Idempotency-Key.',
    example: { detail: 'The operation exceeded the deadline and was canceled.' },
  },
  'outcome-unknown': {
    meaning: 'The database did not confirm in time whether the write took effect. It may have, or may still do so.',
    remedy:
      'POST with an Idempotency-Key: retry with the same key. The request takes effect once, and you get the response of the first attempt. POST without a key: wait for a minute, then fetch the resource or its list before retrying. PUT: retry. If you sent If-Match and the retry returns 412, fetch the resource and compare: the first attempt may have taken effect. DELETE: retry. A 404 means that the resource is deleted.',
    example: { detail: 'The database did not confirm in time whether the write took effect.' },
  },
};

/** An example of a problem. */
export function exampleOf(code: ErrorCode) {
  const { status, title } = problems[code];
  const instance = '/api/v1/webhook-endpoints/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f';
  const requestId = '0d4a35ea-3a4b-4f0c-9d6a-2b8e0c0f2f5e';
  return { type: `/problems/${code}`, title, status, instance, requestId, ...problemTexts[code].example };
}
