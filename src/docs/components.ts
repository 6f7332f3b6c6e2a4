// The components that operations refer to by name.

type Parameter = { in: 'header'; required?: boolean; description: string; schema: object; example: string };
type Header = { required?: boolean; description: string; schema: object; example: string };

const text = { type: 'string' };

/** Request headers that an operation may take, by name. */
export const parameters = {
  'Idempotency-Key': {
    in: 'header',
    description:
      'Makes retries safe: for 24 hours, requests with the same key and payload take effect once and get the same response.',
    schema: { type: 'string', minLength: 1, maxLength: 512 },
    example: '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
  },
  'If-Match': {
    in: 'header',
    description: 'Performs the operation only if the ETag matches. * matches any version.',
    schema: text,
    example: '"1"',
  },
  'If-None-Match': {
    in: 'header',
    description: 'Returns 304 if the ETag matches.',
    schema: text,
    example: '"1"',
  },
  'X-Request-Id': {
    in: 'header',
    description:
      '1 to 255 letters, digits and - _ = . : characters. Replaced if missing, invalid, or if it looks like a secret.',
    schema: text,
    example: 'order-4711-attempt-1',
  },
  traceparent: {
    in: 'header',
    description: 'W3C Trace Context, continued in logs and traces. Ignored if invalid.',
    schema: text,
    example: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  },
} satisfies Record<string, Parameter>;

/** Response headers, by name. `required`: on every response that lists it. */
export const headers = {
  ETag: {
    required: true,
    description: 'Identifies this state of the resource, for If-None-Match and, where accepted, If-Match.',
    schema: { type: 'string', pattern: '^"[^"]+"$' },
    example: '"1"',
  },
  'Idempotent-Replayed': {
    description: '`true` when the response is replayed.',
    schema: { type: 'string', const: 'true' },
    example: 'true',
  },
  Link: {
    description: 'The next page, if there is one (RFC 8288).',
    schema: text,
    example:
      '<https://api.example.com/api/v1/webhook-endpoints?cursor=019d2f7e3c007c9a9f405d1c2b3a4e5f0a1b2c3d>; rel="next"',
  },
  Location: {
    required: true,
    description: 'The path of the created resource.',
    schema: { type: 'string', format: 'uri-reference' },
    example: '/api/v1/webhook-endpoints/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
  },
  RateLimit: {
    description: 'The remaining quota (r) and the seconds until it resets (t), if known.',
    schema: { type: 'string', pattern: '^"default";r=[0-9]+;t=[0-9]+$' },
    example: '"default";r=599;t=60',
  },
  'RateLimit-Policy': {
    description: 'The quota (q) per window (w, in seconds).',
    schema: { type: 'string', pattern: '^"default";q=[0-9]+;w=[0-9]+$' },
    example: '"default";q=600;w=60',
  },
  'Retry-After': {
    required: true,
    description: 'The number of seconds to wait before retrying.',
    schema: { type: 'string', pattern: '^[0-9]+$' },
    example: '1',
  },
  'WWW-Authenticate': {
    required: true,
    description: 'Why the token was refused (RFC 6750).',
    schema: text,
    example: 'Bearer error="invalid_token", error_description="the token has expired"',
  },
  'X-Request-Id': {
    required: true,
    description: 'The id of this request in logs and problems.',
    schema: text,
    example: '0d4a35ea-3a4b-4f0c-9d6a-2b8e0c0f2f5e',
  },
} satisfies Record<string, Header>;

export const Problem = {
  description: 'An error, as specified by RFC 9457.',
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'instance', 'requestId'],
  properties: {
    type: {
      type: 'string',
      format: 'uri-reference',
      description: 'The URL of a page that explains the problem and how to resolve it.',
    },
    title: text,
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: text,
    instance: { type: 'string', format: 'uri-reference' },
    requestId: text,
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['detail'],
        properties: {
          detail: text,
          pointer: {
            type: 'string',
            description: 'A member of the body, as a JSON Pointer (RFC 6901) in a URI fragment.',
          },
          parameter: { type: 'string', description: 'A query parameter or a header.' },
        },
      },
    },
  },
};

export const bearer = {
  type: 'http',
  scheme: 'bearer',
  bearerFormat: 'JWT',
  description: 'A JSON Web Token with a `scope` claim: scopes separated by spaces.',
};
