import * as z from 'zod/mini';
import packageJson from '../../package.json' with { type: 'json' };
import type { ErrorCode } from '../errors.ts';
import { documented, lazy, time } from '../fields.ts';
import { type Operation, operationsOf, type Routed, resourcesOf } from '../http/operation.ts';
import { problems } from '../http/problem.ts';
import { exampleOf } from '../http/problem-texts.ts';
import { pluralOf, type Resource, words } from '../http/resource.ts';
import type { Taken } from '../http/validate.ts';
import { bearer, headers, Problem, parameters } from './components.ts';

type Json = Record<string, unknown>;
type HeaderName = keyof typeof headers;

const info = {
  title: 'Keelson',
  version: packageJson.version,
  description:
    'Every error is a problem (RFC 9457); its `type` links to a page that explains it. Webhooks follow Standard Webhooks ' +
    '1.0.0.',
  license: { name: 'MIT', identifier: 'MIT' },
  contact: { name: 'The operator of this service' },
};

const SYSTEM = { name: 'System', description: 'Health, readiness and documentation. Requires no token.' };

/** The problems of every route, and of every route that requires a token. */
const ofEvery: ErrorCode[] = ['malformed-request', 'request-timeout', 'headers-too-large', 'internal'];
const ofApi: ErrorCode[] = [
  ...ofEvery,
  'unauthorized',
  'insufficient-scope',
  'content-too-large',
  'rate-limited',
  'unavailable',
  'timeout',
];
const alsoSent: Partial<Record<ErrorCode, HeaderName>> = {
  unauthorized: 'WWW-Authenticate',
  'insufficient-scope': 'WWW-Authenticate',
  'rate-limited': 'Retry-After',
  unavailable: 'Retry-After',
};

/** Creates the OpenAPI 3.1 document of an app from the declarations of its routes. */
export function documentOf(routes: readonly Routed[]): object {
  const operations = operationsOf(routes);
  const resources = resourcesOf(routes);
  const schemas: Json = { Problem };
  const responses: Json = {};
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    const path = operation.path.replace(/:(\w+)/g, '{$1}');
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = describe(operation, resources, schemas, responses);
  }
  return {
    openapi: '3.1.1',
    info,
    servers: [{ url: '/', description: 'This service' }],
    tags: [...resources.map(tagOf), SYSTEM],
    paths,
    webhooks: Object.fromEntries(resources.flatMap((resource) => webhooksOf(resource, schemas))),
    components: {
      schemas,
      responses,
      headers,
      parameters: Object.fromEntries(Object.entries(parameters).map(([name, rest]) => [name, { name, ...rest }])),
      examples: examplesOf(operations, resources),
      securitySchemes: { bearer },
    },
  };
}

const tagOf = (of: Resource) => ({ name: titled(words(pluralOf(of))), description: of.description });
const titled = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

type Declared = ReturnType<typeof operationsOf>[number];

function describe(operation: Declared, resources: Resource[], schemas: Json, responses: Json): object {
  const { operationId, summary, description, resource, scope, takes } = operation;
  const body = takes.find(({ target }) => target === 'json');
  const answers = Object.entries(operation.answers).map(([status, answer]) => [
    status,
    responseOf(answer, scope, schemas),
  ]);
  return {
    tags: [resource ? tagOf(resource).name : SYSTEM.name],
    operationId,
    summary,
    // OpenAPI 3.1 permits scopes for a bearer scheme, but some tools do not.
    description: [description, scope && `Requires the scope \`${scope}\`.`].filter(Boolean).join(' '),
    security: scope ? [{ bearer: [] }] : [],
    ...(scope && { 'x-required-scopes': [scope] }),
    parameters: [
      ...takes.flatMap((taken) => (taken === body ? [] : parametersOf(taken))),
      ...[...(operation.headers ?? []), 'X-Request-Id', 'traceparent'].map((name) => refer('parameters', name)),
    ],
    ...(body && { requestBody: { required: true, content: json(schemaOf(body.schema(), 'input', schemas)) } }),
    responses: { ...Object.fromEntries(answers), ...problemsOf(problemCodes(operation, resources), responses) },
  };
}

const refer = (kind: string, name: string) => ({ $ref: `#/components/${kind}/${name}` });
const referAll = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, refer('headers', name)]));
const json = (schema: unknown) => ({ 'application/json': { schema } });

function responseOf(
  { description, schema, headers = [], type = 'application/json' }: Operation['answers'][number],
  scope: string | undefined,
  schemas: Json,
) {
  const always = ['X-Request-Id', 'RateLimit-Policy', ...(scope ? ['RateLimit'] : [])];
  return {
    description,
    headers: referAll([...always, ...headers]),
    ...(schema && { content: { [type]: { schema: schemaOf(schema(), 'output', schemas) } } }),
  };
}

function problemCodes(operation: Declared, resources: Resource[]): ErrorCode[] {
  const { method, scope, resource, problems } = operation;
  // A parent cannot be deleted while a child refers to it.
  const children = resources.flatMap(({ constraints = {} }) => Object.values(constraints));
  const referring = children.filter(({ parent }) => method === 'DELETE' && parent && parent === resource?.name);
  const ofChildren = referring.map(({ code = 'conflict' }) => code);
  return [...new Set([...(scope ? ofApi : ofEvery), ...problems, ...ofChildren])];
}

function problemsOf(codes: ErrorCode[], responses: Json): object {
  const byStatus = Map.groupBy(codes, (code) => problems[code].status);
  return Object.fromEntries(Array.from(byStatus, ([status, group]) => [status, problemResponse(group, responses)]));
}

// One shared response per set of problems keeps the document small.
function problemResponse(codes: ErrorCode[], responses: Json): object {
  const name = codes.map(pascalCase).join('Or');
  const also = new Set(codes.flatMap((code) => alsoSent[code] ?? []));
  responses[name] ??= {
    description: codes.map((code) => problems[code].title).join(', or '),
    headers: referAll(['X-Request-Id', 'RateLimit-Policy', 'RateLimit', ...also]),
    content: {
      'application/problem+json': {
        schema: refer('schemas', 'Problem'),
        examples: Object.fromEntries(codes.map((code) => [code, refer('examples', code)])),
      },
    },
  };
  return refer('responses', name);
}

const pascalCase = (name: string) => name.replace(/(?:^|[.-])([a-z])/g, (_, letter: string) => letter.toUpperCase());

function examplesOf(operations: Declared[], resources: Resource[]): object {
  const codes = new Set(operations.flatMap((operation) => problemCodes(operation, resources)));
  const example = (code: ErrorCode) => ({ summary: problems[code].title, value: exampleOf(code) });
  return Object.fromEntries([...codes].map((code) => [code, example(code)]));
}

/** Converts a schema to JSON Schema 2020-12. A schema with an id becomes a component. */
function schemaOf(schema: z.core.$ZodType, io: 'input' | 'output', schemas: Json): object {
  const options = { io, override: plain, unrepresentable: 'any' } as const;
  const { $schema: _, $defs = {}, ...whole } = z.toJSONSchema(schema, options) as Json;
  for (const [name, part] of Object.entries($defs as Json)) {
    const schema = within(part);
    const known = schemas[name] ?? schema;
    if (JSON.stringify(known) !== JSON.stringify(schema)) throw new Error(`two schemas have the id ${name}`);
    schemas[name] = schema;
  }
  return within(whole) as object;
}

// Points references at the document's components, and writes a nullable type as a list of two types.
function within(part: unknown): unknown {
  return JSON.parse(JSON.stringify(part).replaceAll('"#/$defs/', '"#/components/schemas/'), (_, value) => {
    const { anyOf: [first, second] = [], ...rest } = Object(value);
    const isNullable = typeof first?.type === 'string' && !first.enum && second?.type === 'null';
    return isNullable ? { ...rest, ...first, type: [first.type, 'null'] } : value;
  });
}

// Removes the redundant patterns of formats and ranges of integers. Removes additionalProperties from views, because a
// later version may add members. Adds the default and examples, which zod omits for transforms.
function plain({
  zodSchema,
  jsonSchema,
}: {
  zodSchema: z.core.$ZodTypes;
  jsonSchema: z.core.JSONSchema.BaseSchema;
}): void {
  if (jsonSchema.format === 'uuid' || jsonSchema.format === 'date-time' || jsonSchema.type === 'integer') {
    delete jsonSchema.pattern;
  }
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  const isStrict = zodSchema._zod.def.type === 'object' && zodSchema._zod.def.catchall !== undefined;
  if (jsonSchema.additionalProperties === false && !isStrict) delete jsonSchema.additionalProperties;
  const { default: byDefault, examples } = z.globalRegistry.get(zodSchema) ?? {};
  if (byDefault !== undefined) jsonSchema.default = byDefault;
  if (examples !== undefined) jsonSchema.examples = examples as unknown[];
}

function parametersOf({ target, schema }: Taken): object[] {
  const { properties = {}, required = [] } = schemaOf(schema(), 'input', {}) as z.core.JSONSchema.ObjectSchema;
  return Object.entries(properties).map(([name, each]) => {
    const { description, ...rest } = each as Json;
    return {
      name,
      in: target === 'param' ? 'path' : target,
      required: required.includes(name),
      ...(description !== undefined && { description }),
      schema: rest,
    };
  });
}

const webhookHeaders = lazy(() =>
  z.object({
    'webhook-id': documented(z.uuid(), { description: 'The id of the notification; the same for every attempt.' }),
    'webhook-timestamp': documented(z.string().check(z.regex(/^\d+$/)), {
      description: 'The time of the attempt, in Unix seconds.',
    }),
    'webhook-signature': documented(z.string(), { description: 'One or more `v1,<base64>`, separated by spaces.' }),
  }),
);

function webhooksOf(resource: Resource, schemas: Json): [string, object][] {
  return Object.entries(resource.events ?? {}).map(([type, { description, data = resource.view }]) => {
    const id = pascalCase(type);
    const payload = documented(z.object({ type: z.literal(type), timestamp: time(), data: data() }), {
      id: `${id}Event`,
    });
    const post = {
      tags: [tagOf(resource).name],
      operationId: `on${id}`,
      summary: type,
      description: `${description} Delivered at least once: a failed attempt is retried, a limited number of times.`,
      security: [],
      parameters: parametersOf({ target: 'query', schema: webhookHeaders }).map((each) => ({ ...each, in: 'header' })),
      requestBody: { required: true, content: json(schemaOf(payload, 'output', schemas)) },
      responses: {
        '2XX': { description: 'Acknowledged' },
        410: { description: 'Gone: the endpoint is disabled' },
        default: { description: 'Failed: retried later' },
      },
    };
    return [type, { post }];
  });
}
