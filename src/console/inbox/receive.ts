import { createMiddleware } from 'hono/factory';
import type { StatusCode } from 'hono/utils/http-status';
import { body as answerWithBody, empty, setHeader } from '../../http/answer.ts';
import type { Ctx, Env } from '../../http/context.ts';
import { notFound } from '../../http/problem.ts';
import { applyQuota } from '../../http/rate-limit.ts';
import { aboutName, type Choice, keep } from './store.ts';

/** The answers that a developer can choose from. Without a status: no answer within the delivery timeout. */
export const ANSWERS: Record<string, { label: string; status?: StatusCode; retryAfter?: true }> = {
  accept: { label: '204: accept it', status: 204 },
  fail: { label: '500: fail', status: 500 },
  gone: { label: '410: gone, which disables the endpoint', status: 410 },
  slow: { label: '429 with Retry-After', status: 429, retryAfter: true },
  unavailable: { label: '503 with Retry-After', status: 503, retryAfter: true },
  silent: { label: 'None in time' },
};
export const DEFAULT: Choice = { answer: 'accept', retryAfterS: 30 };

/** Seconds after which a connection without an answer is closed: longer than any sensible DELIVERY_TIMEOUT_MS. */
const SILENT_S = 120;
/** Headers that a browser sends with a request that is not a webhook. */
const SECRET = new Set(['authorization', 'cookie']);
/** The maximum number of characters of a type or an id that are listed. */
const MAX_LISTED_LENGTH = 255;

/** The name in the path. Throws AppError `not-found`. */
export function nameOf(c: Ctx): string {
  const name = c.req.param('name') ?? '';
  if (!isName(name)) throw notFound();
  return name;
}

export const isName = (name: string): boolean => /^[a-z0-9-]{1,40}$/.test(name);

/** Limits requests by the client's network, counted separately from its failed tokens. */
export const rateLimitByAddress = createMiddleware<Env>(async (c, next) => {
  const { networkOf } = await import('../../http/client-network.ts');
  applyQuota(c, await c.env.limiter.take(`address:inbox ${networkOf(c.env.clientAddress)}`));
  await next();
});

/** Receives a webhook: checks its signature, stores it, and responds with the answer chosen for its name. */
export async function receive(c: Ctx): Promise<Response> {
  const name = nameOf(c);
  const { db } = c.env;
  const body = await c.req.text();
  const headers = Object.fromEntries(c.req.raw.headers);
  const { choice = DEFAULT, endpoints } = await aboutName(db, name, c.get('signal'));
  const arrived = {
    at: c.env.now().toISOString(),
    type: typeOf(body),
    webhookId: headers['webhook-id']?.slice(0, MAX_LISTED_LENGTH) ?? null,
    answer: answered(choice),
    ...(await verdictOf(c, endpoints, body, headers)),
  };
  const shown = Object.entries(headers).map(([name, value]): [string, string] => [
    name,
    SECRET.has(name) ? '[not shown]' : value,
  ]);
  await keep(db, name, { arrived, contents: { headers: shown, body } }, c.get('signal'));
  return answer(c, choice);
}

/** A choice in words. */
export function answered({ answer, retryAfterS }: Choice): string {
  const { status, retryAfter } = ANSWERS[answer] ?? {};
  return status === undefined ? 'none in time' : `${status}${retryAfter ? `, Retry-After ${retryAfterS}` : ''}`;
}

function answer(c: Ctx, { answer, retryAfterS }: Choice): Response {
  const { status, retryAfter } = ANSWERS[answer] ?? {};
  if (status === undefined) return answerWithBody(c, silence(c), 'text/plain');
  if (retryAfter) setHeader(c, 'Retry-After', String(retryAfterS));
  return empty(c, status);
}

/** A body that does not end, because this request's deadline is shorter than a delivery's. A shutdown aborts it. */
function silence(c: Ctx): ReadableStream<Uint8Array<ArrayBuffer>> {
  let timer: ReturnType<typeof setInterval>;
  return new ReadableStream({
    start(controller) {
      let left = SILENT_S;
      timer = setInterval(() => {
        if (--left > 0 && !c.env.draining()) return;
        clearInterval(timer);
        controller.error(new Error('no answer was to be given'));
      }, 1000);
    },
    cancel: () => clearInterval(timer),
  });
}

type Verdict = { endpointId: string | null; failure: string | null };

/** Which of the endpoints signed it, or why none did. */
async function verdictOf(
  c: Ctx,
  endpoints: { id: string; secret: string }[],
  body: string,
  headers: Record<string, string>,
): Promise<Verdict> {
  // Loaded when the first webhook arrives: nothing in production needs it.
  const { verifierOf } = await import('../../dispatcher/channels/verify.ts');
  const bytes = new TextEncoder().encode(body);
  let failure = 'No endpoint points here';
  for (const { id, secret } of endpoints) {
    const problem = verifierOf(await c.env.secrets.open(secret))(bytes, headers);
    if (problem === undefined) return { endpointId: id, failure: null };
    failure = problem;
  }
  return { endpointId: null, failure };
}

/** The type that a body says it has. */
function typeOf(body: string): string | null {
  try {
    const { type } = JSON.parse(body);
    return typeof type === 'string' ? type.slice(0, MAX_LISTED_LENGTH).toWellFormed() : null;
  } catch {
    return null;
  }
}
