import type { ErrorCode } from '../errors.ts';
import { problems } from '../http/problem.ts';
import { problemTexts } from '../http/problem-texts.ts';

export type Refusal = { status: number; title: string; headers: Record<string, string>; body: string };

/** Creates the problem for a request that never reaches the app, in the app's format. */
export function refusal(code: ErrorCode): Refusal {
  const { status, title } = problems[code];
  const { detail } = problemTexts[code].example;
  const requestId = crypto.randomUUID();
  const problem = { type: `/problems/${code}`, title, status, detail, instance: '/', requestId };
  const body = JSON.stringify(problem);
  const headers = {
    'Content-Type': 'application/problem+json',
    'Content-Length': String(body.length),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'X-Request-Id': requestId,
  };
  return { status, title, headers, body };
}

/**
 * Returns the response to a request without a valid URL, or an ambiguous one. It closes the connection, because the
 * start of the next request is uncertain, too (RFC 9112, section 6.1).
 */
export function malformedRequest(): Response {
  const { status, headers, body } = refusal('malformed-request');
  return new Response(body, { status, headers: { ...headers, Connection: 'close' } });
}

/** The response to a request that failed outside the app. */
export function internalError(): Response {
  const { status, headers, body } = refusal('internal');
  return new Response(body, { status, headers });
}
