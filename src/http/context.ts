import { type Context, Hono } from 'hono';
import type { Deps, Principal } from '../deps.ts';

/** What middleware leaves on the context for those after it. */
type Variables = {
  requestId: string;
  /** Headers of the answer to come, written once with it: see `answer.ts`. */
  headers: Record<string, string>;
  /** The answer that was made with them. */
  answer: Response;
  traceId: string;
  /** Aborts at the deadline; every statement and every outgoing call of the request takes it. */
  signal: AbortSignal;
  /** Set on authenticated routes alone. */
  principal: Principal;
};

export type Env = { Bindings: Deps; Variables: Variables };
export type Ctx = Context<Env>;

/** The routes of a resource. */
export const router = () => new Hono<Env>();
