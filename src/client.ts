import { type ClientResponse, hc, type InferRequestType } from 'hono/client';
import type { App } from './app.ts';
import type { ErrorCode, FieldError } from './errors.ts';

export type ClientOptions = {
  /** A bearer token, or a function that returns one for each attempt, so that it can be renewed. */
  token: string | (() => string | Promise<string>);
  /** The maximum number of retries of a request that is safe to retry. Default: 3. */
  retries?: number;
  fetch?: typeof fetch;
};

type CallOptions = { signal?: AbortSignal };
type CreateOptions = CallOptions & {
  /** Generated per call if not given. Store your own to retry safely across restarts. */
  idempotencyKey?: string;
};
type ChangeOptions = CallOptions & {
  /** The expected version; any other throws the Problem `precondition-failed`. Without it, the last write wins. */
  version?: number;
};
/** `version` is for actions that take If-Match, such as pausing an endpoint; others ignore it. */
type ActionOptions = CreateOptions & ChangeOptions;

const BASE_DELAY_MS = 200;
const MAX_DELAY_MS = 60_000;

/** Any response that is not a success (RFC 9457). */
export class Problem extends Error {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly requestId: string | undefined;
  readonly errors: FieldError[];
  /**
   * Whether an earlier attempt may have taken effect, because its outcome is unknown: then a `precondition-failed` or
   * a `conflict` can be due to your own change.
   */
  readonly uncertain: boolean;

  constructor(status: number, body: Partial<Record<keyof Problem, unknown>>, uncertain: boolean) {
    const title = text(body.title) ?? `HTTP ${status}`;
    super(text(body.detail) ?? title);
    this.name = 'Problem';
    this.type = text(body.type) ?? 'about:blank';
    this.title = title;
    this.status = status;
    this.detail = text(body.detail) ?? '';
    this.requestId = text(body.requestId);
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.uncertain = uncertain;
  }

  /** The last part of `type`; undefined for a response that is not this service's, such as a proxy's. */
  get code(): ErrorCode | undefined {
    return /\/problems\/([a-z-]+)$/.exec(this.type)?.[1] as ErrorCode | undefined;
  }
}

/** A proxy may answer with anything, under any content type. */
const text = (value: unknown) => (typeof value === 'string' ? value : undefined);

/**
 * A client with one object per resource, named after its path: `client.webhookEndpoints.rotateSecret(id)` is
 * `POST /api/v1/webhook-endpoints/{id}/rotate-secret`. Its types are the app's own. Throws Problem, or what fetch throws
 * if there is no response at all.
 */
export function createClient(baseUrl: string, { token, retries = 3, fetch = globalThis.fetch }: ClientOptions): Client {
  const api = hc<App>(baseUrl, {
    fetch: (input: Input, init: RequestInit = {}) => send({ fetch, token, retries }, input, init),
  }).api.v1 as unknown as Record<string, Routes>;
  return named((name) => resource(api[kebabCase(name)] as Routes)) as Client;
}

/** The operations of a resource, and one for each path below it and below `/:id`. */
function resource(routes: Routes) {
  const at = (path: string) => routes[path] as Routes;
  const one = (id: string) => {
    // Any other value would address another path.
    if (typeof id !== 'string' || id === '' || id === '.' || id === '..') throw new TypeError('an id is needed');
    return { param: { id: encodeURIComponent(id) } };
  };
  const operations = {
    ...listing((query, options) => body(routes.$get({ query }, requestOptions({}, options)))),
    create: (json: unknown, options: CreateOptions = {}) =>
      body(routes.$post({ json }, requestOptions(keyOf(options), options))),
    read: (options?: CallOptions) => body(routes.$get({}, requestOptions({}, options))),
    get: (id: string, options?: CallOptions) => body(at(':id').$get(one(id), requestOptions({}, options))),
    replace: (id: string, json: unknown, options: ChangeOptions = {}) =>
      body(at(':id').$put({ ...one(id), json }, requestOptions(ifMatch(options), options))),
    remove: (id: string, options: ChangeOptions = {}) =>
      ignoreGoneOnRetry(at(':id').$delete(one(id), requestOptions(ifMatch(options), options))),
  };
  const action =
    (name: string) =>
    (of: string | Acting, own: Acting = {}) => {
      const [on, options] = typeof of === 'object' && of !== null ? [routes, of] : [at(':id'), own];
      const { body: json } = options;
      const request = { ...(on !== routes && one(of as string)), ...(json !== undefined && { json }) };
      return body(
        (on[kebabCase(name)] as Routes).$post(
          request,
          requestOptions({ ...keyOf(options), ...ifMatch(options) }, options),
        ),
      );
    };
  const part = (name: string) => (id: string, options?: CallOptions) =>
    body((at(':id')[name] as Routes).$get(one(id), requestOptions({}, options)));
  return named((name) => {
    const [, ofOne] = /^get([A-Z]\w*)$/.exec(name) ?? [];
    if (ofOne !== undefined) return part(kebabCase(ofOne).slice(1));
    return operations[name as keyof typeof operations] ?? action(name);
  });
}

/** Members that `await`, JSON.stringify, loggers and assertions look up on any object. */
const RESERVED_MEMBERS = ['then', 'toJSON', 'inspect', 'asymmetricMatch', 'constructor', 'prototype', 'nodeType'];

/** An object whose members are created on access. */
function named(member: (name: string) => unknown): unknown {
  const get = (_: object, name: string | symbol) =>
    typeof name === 'symbol' || RESERVED_MEMBERS.includes(name) ? undefined : member(name);
  return new Proxy({}, { get });
}

const kebabCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

type Acting = ActionOptions & { body?: unknown };

/** hc's routes, untyped. */
type Routes = { [path: string]: Routes } & Record<
  '$get' | '$post' | '$put' | '$delete',
  (request: object, options: object) => Promise<ClientResponse<unknown>>
>;

type Api = ReturnType<typeof hc<App>>['api']['v1'];
export type Client = {
  [K in keyof Api & string as CamelCase<K>]: Listed<Api[K]> & Made<Api[K]> & One<Api[K]> & OnAll<Api[K]>;
};
/** What a resource's `get` returns: `Item<'webhookEndpoints'>`. */
export type Item<K extends keyof Client> = Client[K] extends { get(id: string): Promise<infer T> } ? T : never;

type Listed<R> = R extends { $get: infer F }
  ? [Member<F>] extends [never]
    ? { /** Gets the singleton. */ read(options?: CallOptions): Promise<Shown<F>> }
    : {
        /** Iterates over every item, requesting pages as needed. */
        list(asked?: Asked<F>, options?: CallOptions): AsyncGenerator<Member<F>, void, undefined>;
        /** Gets one page. */
        page(asked?: Asked<F>, options?: CallOptions): Promise<Page<Member<F>>>;
      }
  : unknown;
type Made<R> = R extends { $post: infer F }
  ? { create(input: Json<F>, options?: CreateOptions): Promise<Shown<F>> }
  : unknown;
type One<R> = R extends { ':id': infer I } ? Got<I> & Replaced<I> & Removed<I> & Actions<I> & Parts<I> : unknown;
/** Actions on a whole collection: `client.notifications.redrive({ body: { filter } })`. */
type OnAll<R> = {
  [K in keyof R & string as K extends `$${string}` | `:${string}` ? never : CamelCase<K>]: R[K] extends {
    $post: infer F;
  }
    ? (options: CreateOptions & { body: Json<F> }) => Promise<Shown<F>>
    : never;
};
type Got<I> = I extends { $get: infer F } ? { get(id: string, options?: CallOptions): Promise<Shown<F>> } : unknown;
type Replaced<I> = I extends { $put: infer F }
  ? { replace(id: string, input: Json<F>, options?: ChangeOptions): Promise<Shown<F>> }
  : unknown;
type Removed<I> = I extends { $delete: unknown }
  ? { remove(id: string, options?: ChangeOptions): Promise<void> }
  : unknown;
/** The sub-resources of a resource: `client.webhookEndpoints.getHealth(id)`. */
type Parts<I> = {
  [K in keyof I & string as I[K] extends { $get: unknown } ? `get${Capitalize<CamelCase<K>>}` : never]: I[K] extends {
    $get: infer F;
  }
    ? (id: string, options?: CallOptions) => Promise<Shown<F>>
    : never;
};
type Actions<I> = {
  [K in keyof I & string as I[K] extends { $post: unknown } ? CamelCase<K> : never]: I[K] extends { $post: infer F }
    ? [Json<F>] extends [never]
      ? (id: string, options?: ActionOptions) => Promise<Shown<F>>
      : (id: string, options: ActionOptions & { body: Json<F> }) => Promise<Shown<F>>
    : never;
};

type CamelCase<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;
type Input = Parameters<typeof fetch>[0];
type Json<F> = InferRequestType<F> extends { json: infer J } ? J : never;
type Query<F> = InferRequestType<F> extends { query: infer Q } ? Q : never;
/** A list's filters, its page size and the cursor to start from. */
type Asked<F> = Omit<Query<F>, 'limit' | 'cursor'> & { limit?: number; cursor?: string };
type Page<T> = { data: T[]; nextCursor: string | null };
type Member<F> = Shown<F> extends Page<infer T> ? T : never;
// No request here asks for a 304.
type Shown<F> = F extends (...args: never) => Promise<infer R>
  ? R extends ClientResponse<infer T, infer S, string>
    ? 304 extends S
      ? never
      : T
    : never
  : never;

type AnyQuery = { limit?: number; cursor?: string };

function listing(get: (query: object, options?: CallOptions) => Promise<unknown>) {
  const page = ({ limit, ...rest }: AnyQuery = {}, options?: CallOptions) =>
    get({ ...rest, ...(limit !== undefined && { limit: String(limit) }) }, options) as Promise<Page<unknown>>;
  async function* list(asked: AnyQuery = {}, options?: CallOptions): AsyncGenerator<unknown, void, undefined> {
    for (let { cursor } = asked; ; ) {
      const { data, nextCursor } = await page({ ...asked, ...(cursor && { cursor }) }, options);
      yield* data;
      if (!nextCursor) return;
      cursor = nextCursor;
    }
  }
  return { list, page };
}

const requestOptions = (headers: Record<string, string>, { signal }: CallOptions = {}) => ({
  headers,
  ...(signal && { init: { signal } }),
});
const keyOf = ({ idempotencyKey = crypto.randomUUID() }: CreateOptions) => ({
  'Idempotency-Key': `"${idempotencyKey.replace(/["\\]/g, '\\$&')}"`,
});
const ifMatch = ({ version }: ChangeOptions): Record<string, string> =>
  version === undefined ? {} : { 'If-Match': `"${version}"` };

async function body(answer: Promise<ClientResponse<unknown>>): Promise<unknown> {
  const response = await answer;
  return response.json().catch(() => {
    throw new Problem(response.status, { title: 'The response is not JSON' }, false);
  });
}

// A 404 of this service on a retry means that an earlier attempt, whose response was lost, deleted it.
async function ignoreGoneOnRetry(answer: Promise<unknown>): Promise<void> {
  await answer.catch((error) => {
    if (!(error instanceof Problem && error.code === 'not-found' && error.uncertain)) throw error;
  });
}

/** The problems of this service that mean that nothing was written. */
const WITHOUT_EFFECT: (ErrorCode | undefined)[] = ['unavailable', 'timeout'];

/** Sends a request, and retries it. */
async function send(
  { fetch, token, retries }: Required<ClientOptions>,
  input: Input,
  init: RequestInit,
): Promise<Response> {
  const { method = 'GET', signal } = init;
  const headers = new Headers(init.headers);
  const idempotent =
    method === 'GET' || method === 'DELETE' || headers.has('Idempotency-Key') || headers.has('If-Match');
  // A redirect turns a POST into a GET.
  const redirect = method === 'GET' ? 'follow' : 'manual';
  let uncertain = false;
  for (let attempt = 0; ; attempt++) {
    // Also true if `retries` is NaN.
    const isLast = !(attempt < retries);
    let wait = Math.min(MAX_DELAY_MS, BASE_DELAY_MS * 2 ** attempt) * (0.5 + Math.random() / 2);
    headers.set('Authorization', `Bearer ${typeof token === 'string' ? token : await token()}`);
    try {
      const response = await whole(await fetch(input, { ...init, headers, redirect }));
      if (response.ok) return response;
      const retryAfter = retryAfterOf(response);
      const refused = response.status === 429;
      const mayRetry = refused || (idempotent && [502, 503, 504].includes(response.status));
      const problem = await problemOf(response, uncertain);
      if (!mayRetry || isLast || retryAfter > MAX_DELAY_MS) throw problem;
      uncertain ||= !refused && !WITHOUT_EFFECT.includes(problem.code);
      if (retryAfter > wait) wait = retryAfter;
    } catch (error) {
      if (error instanceof Problem || signal?.aborted || !idempotent || isLast) throw error;
      uncertain = true;
    }
    await delay(wait, signal);
  }
}

/** In milliseconds; 0 if the server does not ask for time. Seconds or, of proxies, a date. */
function retryAfterOf({ headers }: Response): number {
  const value = headers.get('Retry-After') ?? '';
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, ms || 0);
}

// An incomplete response counts as no response.
async function whole(response: Response): Promise<Response> {
  const bytes = await response.arrayBuffer();
  return new Response(bytes.byteLength > 0 ? bytes : null, response);
}

async function problemOf(response: Response, uncertain: boolean): Promise<Problem> {
  const isProblem = response.headers.get('Content-Type')?.startsWith('application/problem+json');
  const body = isProblem ? await response.json().catch(() => undefined) : undefined;
  return new Problem(response.status, Object(body), uncertain);
}

function delay(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      // The signal may outlive many calls.
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    if (signal?.aborted) aborted();
    else signal?.addEventListener('abort', aborted);
  });
}
