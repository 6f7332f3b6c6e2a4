import type { ErrorCode } from '../errors.ts';
import { problems } from '../http/problem.ts';

export type Refusal = { status: number; title: string; headers: Record<string, string>; body: string };

/** A problem for what never reaches the app, as the app would say it; of the request nothing is known. */
export function refusal(code: ErrorCode): Refusal {
  const { status, title, example } = problems[code];
  const requestId = crypto.randomUUID();
  const problem = { type: `/problems/${code}`, title, status, detail: example.detail, instance: '/', requestId };
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
 * The answer to a request of which no URL can be made, or that can be read in two ways. It ends the connection: where the
 * next request begins is as uncertain (RFC 9112, section 6.1).
 */
export function malformedRequest(): Response {
  const { status, headers, body } = refusal('malformed-request');
  return new Response(body, { status, headers: { ...headers, Connection: 'close' } });
}
