import { type Context, Hono } from 'hono';
import type { Deps, Principal } from '../deps.ts';

/** What middleware sets on the context. */
type Variables = {
  requestId: string;
  /** Headers of the response, written once: see `answer.ts`. */
  headers: Record<string, string>;
  /** The response that was created with them. */
  answer: Response;
  traceId: string;
  /** The route's path, set for the API and the console. */
  route: string;
  /** Aborts at the deadline. Every statement and every outgoing call of the request takes it. */
  signal: AbortSignal;
  /** Set on authenticated routes only. */
  principal: Principal;
  /** The form that was sent. Set for the console's POSTs only. */
  form: URLSearchParams;
};

export type Env = { Bindings: Deps; Variables: Variables };
export type Ctx = Context<Env>;

/** Creates the routes of a resource. */
export const router = () => new Hono<Env>();

/** The request's URL as its client sees it: a TLS-terminating proxy reports the scheme. For links, not decisions. */
export function urlOf({ req }: Ctx): string {
  // The first of several values is the client's.
  const scheme = req.header('X-Forwarded-Proto')?.split(',', 1)[0]?.trim().toLowerCase();
  return scheme === 'https' && req.url.startsWith('http:') ? `https${req.url.slice('http'.length)}` : req.url;
}

/** Returns who makes the request, for the record of actions. */
export const actorOf = (c: Ctx): { sub: string } => ({ sub: c.get('principal').sub });
