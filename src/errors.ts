/**
 * The errors that a client can get. `http/problem.ts` has their statuses and titles, and maps any error that is not an
 * AppError: to `internal` without details, unless it knows the cause, such as the database.
 */
export type ErrorCode =
  | 'malformed-request'
  | 'malformed-json'
  | 'invalid-cursor'
  | 'invalid-idempotency-key'
  | 'unauthorized'
  | 'insufficient-scope'
  | 'not-found'
  | 'method-not-allowed'
  | 'request-timeout'
  | 'conflict'
  | 'email-taken'
  | 'precondition-failed'
  | 'content-too-large'
  | 'unsupported-media-type'
  | 'validation-failed'
  | 'idempotency-key-reused'
  | 'headers-too-large'
  | 'rate-limited'
  | 'internal'
  | 'unavailable'
  | 'timeout'
  | 'outcome-unknown';

/** One member of the body (`pointer`, RFC 6901 in a URI fragment), or one query parameter or header (`parameter`). */
export type FieldError = { detail: string; pointer: string } | { detail: string; parameter: string };

type Extra = {
  errors?: FieldError[];
  headers?: Record<string, string>;
  cause?: unknown;
};

/** An error for the client, which gets `detail` verbatim. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  constructor(code: ErrorCode, detail: string, extra: Extra = {}) {
    super(detail, { cause: extra.cause });
    this.name = 'AppError';
    this.code = code;
    this.errors = extra.errors;
    this.headers = extra.headers ?? {};
  }
}
