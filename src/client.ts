import { type ClientResponse, hc, type InferRequestType, type InferResponseType } from 'hono/client';
import type { App } from './app.ts';
import type { ErrorCode, FieldError } from './errors.ts';

export type ClientOptions = {
  /** A bearer token, or what gets one for each request, so that one that expires can be renewed. */
  token: string | (() => string | Promise<string>);
  /** How often a request that may be repeated without harm is repeated at most. */
  retries?: number;
  fetch?: typeof fetch;
};

type CallOptions = { signal?: AbortSignal };
type CreateOptions = CallOptions & {
  /** Made anew for each call if not given. Give one that outlives the process, and so does the promise of one effect. */
  idempotencyKey?: string;
};
type ChangeOptions = CallOptions & {
  /** Acts on this version alone, or throws the Problem `precondition-failed`. Without it the last writer wins. */
  version?: number;
};

const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 60_000;

/** Any answer but a success, as RFC 9457 has it. */
export class Problem extends Error {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly requestId: string | undefined;
  readonly errors: FieldError[];
  /**
   * Whether an earlier attempt got no answer, and so may have had the effect: then a `precondition-failed` can be
   * due to one's own change.
   */
  readonly uncertain: boolean;

  constructor(status: number, body: Partial<Problem>, uncertain: boolean) {
    const title = body.title ?? `HTTP ${status}`;
    super(body.detail ?? title);
    this.name = 'Problem';
    this.type = body.type ?? 'about:blank';
    this.title = title;
    this.status = status;
    this.detail = body.detail ?? '';
    this.requestId = body.requestId;
    this.errors = body.errors ?? [];
    this.uncertain = uncertain;
  }

  /** The last part of `type`; what is not one of this service's, such as a proxy's answer, has none. */
  get code(): ErrorCode | undefined {
    return /\/problems\/([a-z-]+)$/.exec(this.type)?.[1] as ErrorCode | undefined;
  }
}

/** A client whose types are the app's own. Throws Problem, or what fetch throws where there is no answer at all. */
export function createClient(baseUrl: string, { token, retries = 3, fetch = globalThis.fetch }: ClientOptions) {
  const api = hc<App>(baseUrl, {
    fetch: (input: Input, init?: RequestInit) => send(fetch, retries, input, init ?? {}),
    headers: async () => ({ Authorization: `Bearer ${typeof token === 'string' ? token : await token()}` }),
  }).api.v1;
  const { users, notifications } = api;
  const endpoints = api['webhook-endpoints'];
  const one = (id: string) => ({ param: { id } });

  return {
    users: {
      ...listing(async (query: Query<typeof users.$get>, options) => body(users.$get({ query }, having({}, options)))),
      create: (json: Json<typeof users.$post>, options: CreateOptions = {}) =>
        body(users.$post({ json }, having(keyOf(options), options))),
      get: (id: string, options?: CallOptions) => body(users[':id'].$get(one(id), having({}, options))),
      replace: (id: string, json: Json<(typeof users)[':id']['$put']>, options: ChangeOptions = {}) =>
        body(users[':id'].$put({ ...one(id), json }, having(matching(options), options))),
      remove: (id: string, options: ChangeOptions = {}) =>
        gone(users[':id'].$delete(one(id), having(matching(options), options))),
    },
    webhookEndpoints: {
      ...listing(async (query: Query<typeof endpoints.$get>, options) =>
        body(endpoints.$get({ query }, having({}, options))),
      ),
      create: (json: Json<typeof endpoints.$post>, options: CreateOptions = {}) =>
        body(endpoints.$post({ json }, having(keyOf(options), options))),
      get: (id: string, options?: CallOptions) => body(endpoints[':id'].$get(one(id), having({}, options))),
      replace: (id: string, json: Json<(typeof endpoints)[':id']['$put']>, options: ChangeOptions = {}) =>
        body(endpoints[':id'].$put({ ...one(id), json }, having(matching(options), options))),
      remove: (id: string, options: ChangeOptions = {}) =>
        gone(endpoints[':id'].$delete(one(id), having(matching(options), options))),
      rotateSecret: (id: string, options: CreateOptions = {}) =>
        body(endpoints[':id']['rotate-secret'].$post(one(id), having(keyOf(options), options))),
      test: (id: string, options: CreateOptions = {}) =>
        body(endpoints[':id'].test.$post(one(id), having(keyOf(options), options))),
    },
    notifications: {
      ...listing(async (query: Query<typeof notifications.$get>, options) =>
        body(notifications.$get({ query }, having({}, options))),
      ),
      create: (json: Json<typeof notifications.$post>, options: CreateOptions = {}) =>
        body(notifications.$post({ json }, having(keyOf(options), options))),
      get: (id: string, options?: CallOptions) => body(notifications[':id'].$get(one(id), having({}, options))),
      redrive: (id: string, options?: CallOptions) =>
        body(notifications[':id'].redrive.$post(one(id), having({}, options))),
      cancel: (id: string, options?: CallOptions) =>
        body(notifications[':id'].cancel.$post(one(id), having({}, options))),
    },
  };
}

type Api = ReturnType<typeof hc<App>>['api']['v1'];
export type User = InferResponseType<Api['users'][':id']['$get'], 200>;
export type WebhookEndpoint = InferResponseType<Api['webhook-endpoints'][':id']['$get'], 200>;
export type Notification = InferResponseType<Api['notifications'][':id']['$get'], 200>;

type Input = Parameters<typeof fetch>[0];
type Json<T> = InferRequestType<T> extends { json: infer J } ? J : never;
type Query<T> = InferRequestType<T> extends { query: infer Q } ? Q : never;
/** A list's filters, the size of its pages and where to begin. */
type Asked<Q> = Omit<Q, 'limit' | 'cursor'> & { limit?: number; cursor?: string };
type Page<T> = { data: T[]; nextCursor: string | null };

/** `list` walks over every item, asking for pages as it goes; `page` gets one of them. */
function listing<Q extends { limit?: string | undefined; cursor?: string | undefined }, T>(
  get: (query: Q, options?: CallOptions) => Promise<Page<T>>,
) {
  const page = ({ limit, ...rest }: Asked<Q> = {} as Asked<Q>, options?: CallOptions) =>
    get({ ...rest, ...(limit !== undefined && { limit: String(limit) }) } as unknown as Q, options);
  async function* list(asked?: Asked<Q>, options?: CallOptions): AsyncGenerator<T, void, undefined> {
    for (let cursor = asked?.cursor; ; ) {
      const { data, nextCursor } = await page({ ...asked, ...(cursor && { cursor }) } as Asked<Q>, options);
      yield* data;
      if (nextCursor === null) return;
      cursor = nextCursor;
    }
  }
  return { list, page };
}

const having = (headers: Record<string, string>, { signal }: CallOptions = {}) => ({
  headers,
  ...(signal && { init: { signal } }),
});
const keyOf = ({ idempotencyKey = crypto.randomUUID() }: CreateOptions) => ({
  'Idempotency-Key': `"${idempotencyKey.replace(/["\\]/g, '\\$&')}"`,
});
const matching = ({ version }: ChangeOptions): Record<string, string> =>
  version === undefined ? {} : { 'If-Match': `"${version}"` };

// Nothing here asks for a 304.
type Shown<R> = R extends ClientResponse<infer T, infer S, string> ? (304 extends S ? never : T) : never;

async function body<R extends ClientResponse<unknown>>(answer: Promise<R>): Promise<Shown<R>> {
  return (await (await answer).json()) as Shown<R>;
}

// What is not there when a deletion is repeated was deleted by the attempt that got no answer.
async function gone(answer: Promise<unknown>): Promise<void> {
  await answer.catch((error) => {
    if (!(error instanceof Problem && error.status === 404 && error.uncertain)) throw error;
  });
}

/** One request and its repeats. */
async function send(get: typeof fetch, retries: number, input: Input, init: RequestInit): Promise<Response> {
  const { method = 'GET', signal } = init;
  const headers = new Headers(init.headers);
  const harmless = method === 'GET' || method === 'DELETE' || headers.has('Idempotency-Key') || headers.has('If-Match');
  let uncertain = false;
  for (let attempt = 0; ; attempt++) {
    let wait = FIRST_DELAY_MS * 2 ** attempt * (0.5 + Math.random() / 2);
    try {
      const response = await whole(await get(input, init));
      if (response.ok) return response;
      const retryAfter = Number(response.headers.get('Retry-After') ?? 0) * 1000;
      const refused = response.status === 429;
      const mayRepeat = refused || (harmless && [502, 503, 504].includes(response.status));
      if (!mayRepeat || attempt >= retries || retryAfter > LONGEST_DELAY_MS) throw await problemOf(response, uncertain);
      uncertain ||= !refused;
      if (retryAfter > wait) wait = retryAfter;
    } catch (error) {
      if (error instanceof Problem || signal?.aborted || !harmless || attempt >= retries) throw error;
      uncertain = true;
    }
    await pause(wait, signal);
  }
}

// An answer that breaks off is none.
async function whole(response: Response): Promise<Response> {
  const bytes = await response.arrayBuffer();
  return new Response(bytes.byteLength > 0 ? bytes : null, response);
}

async function problemOf(response: Response, uncertain: boolean): Promise<Problem> {
  const isProblem = response.headers.get('Content-Type')?.startsWith('application/problem+json');
  return new Problem(response.status, isProblem ? ((await response.json()) as Partial<Problem>) : {}, uncertain);
}

function pause(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    signal?.addEventListener('abort', () => clearTimeout(timer), { once: true });
  });
}
