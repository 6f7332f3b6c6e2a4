import type { ErrorCode } from '../errors.ts';
import { problems } from '../http/problem.ts';
import { problemTexts } from '../http/problem-texts.ts';
import type { Policy } from '../http/rate-limit.ts';
import { requestIdOf } from '../http/request-id.ts';
import { standardHeadersOf } from '../http/standard-headers.ts';

export type Refusal = { status: number; title: string; headers: Record<string, string>; body: string };

/** Creates the problem for a request that never reaches the app, in the app's format. `given` is its X-Request-Id. */
export function refusal(code: ErrorCode, policy: Policy, given?: string | null): Refusal {
  const { status, title } = problems[code];
  const { detail } = problemTexts[code].example;
  const requestId = requestIdOf(given);
  const problem = { type: `/problems/${code}`, title, status, detail, instance: '/', requestId };
  const body = JSON.stringify(problem);
  const headers = {
    ...standardHeadersOf(policy, requestId),
    'Content-Type': 'application/problem+json',
    'Content-Length': String(body.length),
  };
  return { status, title, headers, body };
}

/**
 * Returns the response to a request without a valid URL, or an ambiguous one. It closes the connection, because the
 * start of the next request is uncertain, too (RFC 9112, section 6.1).
 */
export function malformedRequest(policy: Policy, given: string | null | undefined): Response {
  const { status, headers, body } = refusal('malformed-request', policy, given);
  return new Response(body, { status, headers: { ...headers, Connection: 'close' } });
}

/** The response to a request that failed outside the app. */
export function internalError(policy: Policy): Response {
  const { status, headers, body } = refusal('internal', policy);
  return new Response(body, { status, headers });
}
