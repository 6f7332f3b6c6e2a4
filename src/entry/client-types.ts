import { problems } from '../http/problem.ts';
import type { OpenApiDocument, Operation, Parameter, Schema } from './openapi-document.ts';

const BASE = '/api/v1/';

/** The types of the packed client, generated from the document: a member for each resource. */
export function clientTypes(document: OpenApiDocument): string {
  const schemas = Object.entries(document.components.schemas).filter(([name]) => name !== 'Problem');
  // A request takes any value that JSON.stringify accepts; a response is what JSON.parse returns, any.
  const bodies = operationsOf(document).map(
    ({ operation }) => operation.requestBody?.content?.['application/json']?.schema,
  );
  const inputs = new Set(bodies.flatMap((schema) => (schema?.$ref ? [lastOf(schema.$ref)] : [])));
  return [
    preamble,
    `export type ErrorCode =\n${Object.keys(problems)
      .map((code) => `  | '${code}'`)
      .join('\n')};\n`,
    ...schemas.map(([name, schema]) => {
      const others = inputs.has(name) ? 'unknown' : 'any';
      return `${comment(schema.description)}${declaration(name, schema, others)}\n`;
    }),
    ...operationsOf(document).flatMap(({ method, operation }) =>
      method === 'get' && isPage(document, operation)
        ? [`export type ${queryName(operation)} = ${queryType(document, operation)};\n`]
        : [],
    ),
    `export interface ApiClient ${client(document)}\n`,
  ].join('\n');
}

const preamble = `// Generated from the OpenAPI document.

export interface ClientOptions {
  /** A bearer token, or a function that returns one for each attempt, so that it can be renewed. */
  token: string | (() => string | Promise<string>);
  /** The maximum number of retries of a request that is safe to retry. Default: 3. */
  retries?: number;
  fetch?: typeof fetch;
}

export interface CallOptions {
  signal?: AbortSignal;
}

export interface CreateOptions extends CallOptions {
  /** Generated per call if not given. Store your own to retry safely across restarts. */
  idempotencyKey?: string;
}

export interface ChangeOptions extends CallOptions {
  /** The expected version; any other throws the Problem \`precondition-failed\`. Without it, the last write wins. */
  version?: number;
}

/** Throws Problem, or what fetch throws if there is no response at all. */
export declare function createClient(baseUrl: string, options: ClientOptions): ApiClient;

/** Any response but a success (RFC 9457). */
export declare class Problem extends Error {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly requestId: string | undefined;
  readonly errors: FieldError[];
  /** Whether an earlier attempt got no response, and may have taken effect. */
  readonly uncertain: boolean;
  /** The last part of \`type\`; undefined for a response that is not this service's, such as a proxy's. */
  get code(): ErrorCode | undefined;
}

/** One member of the body (RFC 6901 in a URI fragment), or one query parameter or header. */
export type FieldError = { detail: string; pointer: string } | { detail: string; parameter: string };
`;

type Found = { path: string; method: string; operation: Operation };

const operationsOf = ({ paths }: OpenApiDocument): Found[] =>
  Object.entries(paths)
    .filter(([path]) => path.startsWith(BASE))
    .flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));

/** One member for each resource, named after its path. */
function client(document: OpenApiDocument): string {
  const resources = Map.groupBy(operationsOf(document), ({ path }) => path.slice(BASE.length).split('/')[0] as string);
  const members = [...resources].map(([resource, operations]) => {
    const tag = document.tags.find(({ name }) => name === operations[0]?.operation.tags[0]);
    const methods = operations.flatMap((found) => {
      const about = comment(found.operation.summary);
      return methodsOf(document, found).map((signature) => `${about}${signature};`);
    });
    return `${comment(tag?.description)}${camelCase(resource)}: ${block(methods)};`;
  });
  return block(members);
}

/** The client's methods for an operation. Throws if the client cannot call it. */
function methodsOf(document: OpenApiDocument, { path, method, operation }: Found): string[] {
  const [, id, action, ...more] = path.slice(BASE.length).split('/');
  const options = `options?: ${optionsOf(document, operation)}`;
  const body = operation.requestBody && `body: ${typeOf(operation.requestBody.content?.['application/json']?.schema)}`;
  const result = resultOf(operation);
  const promise = `Promise<${result ? typeOf(result) : 'void'}>`;
  if (id === undefined && method === 'get' && !isPage(document, operation)) return [`read(${options}): ${promise}`];
  const withBody = `options: ${optionsOf(document, operation)} & { ${body} }`;
  if (id && !id.startsWith('{') && action === undefined && method === 'post' && body) {
    return [`${camelCase(id)}(${withBody}): ${promise}`];
  }
  const isOne = id?.startsWith('{') && action === undefined;
  if (id === undefined && method === 'get' && isPage(document, operation)) {
    const isNeeded = queryOf(document, operation).some(({ required }) => required);
    const query = `query${isNeeded ? '' : '?'}: ${queryName(operation)}`;
    const item = typeOf(resolve(document, result)?.properties?.data?.items);
    return [
      `list(${query}, ${options}): AsyncGenerator<${item}, void, undefined>`,
      `page(${query}, ${options}): ${promise}`,
    ];
  }
  if (id === undefined && method === 'post' && body) return [`create(${body}, ${options}): ${promise}`];
  if (isOne && method === 'get') return [`get(id: string, ${options}): ${promise}`];
  if (isOne && method === 'put' && body) return [`replace(id: string, ${body}, ${options}): ${promise}`];
  if (isOne && method === 'delete') return [`remove(id: string, ${options}): ${promise}`];
  if (id?.startsWith('{') && action && more.length === 0 && method === 'post') {
    return [`${camelCase(action)}(id: string, ${body ? withBody : options}): ${promise}`];
  }
  if (id?.startsWith('{') && action && more.length === 0 && method === 'get') {
    const name = camelCase(action);
    return [`get${name.charAt(0).toUpperCase()}${name.slice(1)}(id: string, ${options}): ${promise}`];
  }
  throw new Error(`the client has no method for ${method.toUpperCase()} ${path}`);
}

function optionsOf(document: OpenApiDocument, operation: Operation): string {
  const names = parametersOf(document, operation).map(({ name }) => name);
  if (names.includes('Idempotency-Key')) return 'CreateOptions';
  return names.includes('If-Match') ? 'ChangeOptions' : 'CallOptions';
}

/** The schema of a successful response; undefined if it has no body. */
function resultOf({ responses }: Operation): Schema | undefined {
  const [, success] = Object.entries(responses).find(([status]) => status.startsWith('2')) ?? [];
  return success?.content?.['application/json']?.schema;
}

function isPage(document: OpenApiDocument, operation: Operation): boolean {
  const { properties } = resolve(document, resultOf(operation)) ?? {};
  return properties?.data?.items !== undefined && properties.nextCursor !== undefined;
}

const queryName = ({ operationId }: Operation) => `${operationId[0]?.toUpperCase()}${operationId.slice(1)}Query`;

function queryType(document: OpenApiDocument, operation: Operation): string {
  const parameters = queryOf(document, operation);
  const properties = parameters.map(({ name, schema, description }) => [name, { description, ...schema } as Schema]);
  const required = parameters.filter((parameter) => parameter.required).map(({ name }) => name);
  return typeOf({ type: 'object', properties: Object.fromEntries(properties), required });
}

const queryOf = (document: OpenApiDocument, operation: Operation) =>
  parametersOf(document, operation).filter((parameter) => parameter.in === 'query');

const parametersOf = ({ components }: OpenApiDocument, { parameters = [] }: Operation): Parameter[] =>
  parameters.map((each) => (each.$ref ? (components.parameters?.[lastOf(each.$ref)] as Parameter) : each));

const resolve = ({ components }: OpenApiDocument, schema: Schema | undefined): Schema | undefined =>
  schema?.$ref ? components.schemas[lastOf(schema.$ref)] : schema;

const lastOf = (ref: string) => ref.split('/').at(-1) as string;

function declaration(name: string, schema: Schema, others: Others): string {
  const type = typeOf(schema, others);
  return type.startsWith('{') && !schema.anyOf && !schema.oneOf && !schema.allOf
    ? `export interface ${name} ${type}`
    : `export type ${name} = ${type};`;
}

/** The type of values that a schema does not describe. */
type Others = 'unknown' | 'any';

/** A JSON schema as a TypeScript type. */
export function typeOf(schema: Schema | undefined, others: Others = 'unknown'): string {
  if (schema === undefined) return others;
  if (schema.$ref) return lastOf(schema.$ref);
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return union(schema.enum.map((value) => JSON.stringify(value)));
  // A type cannot express alternatives that only require members of the object.
  const either = (schema.anyOf ?? schema.oneOf)?.filter((part) => Object.keys(part).join() !== 'required');
  if (either && either.length > 0) return union(either.map((part) => typeOf(part, others)));
  if (schema.allOf) return schema.allOf.map((part) => `(${typeOf(part, others)})`).join(' & ');
  const kinds = [schema.type ?? (schema.properties ? 'object' : 'any')].flat();
  return union(kinds.map((kind) => ofKind(kind, schema, others)));
}

const union = (types: string[]) => [...new Set(types)].join(' | ');

function ofKind(kind: string, schema: Schema, others: Others): string {
  switch (kind) {
    case 'string':
    case 'boolean':
    case 'null':
      return kind;
    case 'number':
    case 'integer':
      return 'number';
    case 'array':
      return `Array<${typeOf(schema.items, others)}>`;
    case 'object':
      return objectType(schema, others);
    case 'any':
      return others;
    default:
      throw new Error(`a schema has the type ${kind}`);
  }
}

function objectType({ properties = {}, required = [], additionalProperties = false }: Schema, any: Others): string {
  const members = Object.entries(properties).map(([name, schema]) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    const isNeeded = required.includes(name);
    return `${comment(schema.description)}${key}${isNeeded ? '' : '?'}: ${typeOf(schema, any)}${isNeeded ? '' : ' | undefined'};`;
  });
  if (additionalProperties !== false) {
    // With named members, the index signature must not contradict them.
    const others = members.length > 0 || additionalProperties === true ? any : typeOf(additionalProperties, any);
    members.push(`[name: string]: ${others};`);
  }
  return block(members);
}

const block = (members: string[]) =>
  members.length === 0 ? '{}' : `{\n${members.join('\n').replace(/^(?=.)/gm, '  ')}\n}`;

const comment = (text: string | undefined) => (text ? `/** ${text.replaceAll('*/', '*\\/')} */\n` : '');

const camelCase = (words: string) => words.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
