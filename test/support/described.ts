import assert from 'node:assert/strict';
import Ajv, { type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

// biome-ignore lint/suspicious/noExplicitAny: a document is walked, not typed
type Node = any;
type Method = string;

export type Operation = {
  method: Method;
  path: string;
  parameters: { name: string; in: 'path' | 'query' | 'header'; required: boolean; schema: object }[];
  /** The schema of its JSON body, if it takes one. */
  body: object | undefined;
  scopes: string[];
  responses: Record<string, Node>;
};

type Seen = { status: number; headers: Headers; text: string; json: unknown };

/** An OpenAPI document that answers are checked against. */
export type Description = {
  operations: Operation[];
  /** Fails unless the document allows this answer to this request. */
  check(method: string, path: string, answer: Seen): void;
  /** Whether `value` conforms to `schema`, a part of the document. */
  accepts(schema: object, value: unknown): boolean;
  resolve(node: Node): Node;
};

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];

export function describedBy(document: Node): Description {
  const ajv = addFormats.default(
    new Ajv.default({ strict: true, strictRequired: false, allowUnionTypes: true, allErrors: true }),
  );
  ajv.addVocabulary(['example', 'openapi', 'info', 'servers', 'tags', 'components', 'paths', 'webhooks']);
  ajv.addSchema(document, 'document');
  const resolve = (node: Node): Node =>
    node?.$ref ? resolve(at(document, node.$ref.slice(2).split('/').map(unescapePart))) : node;
  const compiled = new Map<object, ValidateFunction>();

  function validator(schema: object): ValidateFunction {
    const known = compiled.get(schema) ?? ajv.compile(absolute(schema) as object);
    compiled.set(schema, known);
    return known;
  }

  const operations: Operation[] = Object.entries(document.paths as Node).flatMap(([path, item]: [string, Node]) =>
    METHODS.filter((method) => item[method]).map((method) => ({
      method: method.toUpperCase(),
      path,
      parameters: (item[method].parameters ?? []).map(resolve),
      body: resolve(item[method].requestBody)?.content['application/json'].schema,
      scopes: item[method]['x-required-scopes'] ?? [],
      responses: Object.fromEntries(
        Object.entries(item[method].responses).map(([status, response]) => [status, resolve(response)]),
      ),
    })),
  );
  const matchers = operations.map((operation) => ({
    operation,
    matches: new RegExp(`^${operation.path.replaceAll('.', '\\.').replace(/\{[^}]+\}/g, '[^/]+')}$`),
  }));
  // A path without parameters takes precedence (OpenAPI 3.1, section 4.8.8.1).
  const find = (method: string, path: string) => {
    const isLiteral = operations.some((each) => each.path === path);
    return matchers
      .filter(({ operation, matches }) => (isLiteral ? operation.path === path : matches.test(path)))
      .map((each) => each.operation)
      .find((each) => each.method === method);
  };

  function check(method: string, path: string, { status, headers, text, json }: Seen): void {
    const operation = find(method === 'HEAD' ? 'GET' : method, path.replace(/\?.*/s, ''));
    const what = `${method} ${path} → ${status}`;
    // The document does not cover a request that matches no operation; its error is still a problem and not a 500.
    if (!operation) {
      const schema = document.components.schemas.Problem;
      assert.ok(status < 500 || status === 503 || status === 504, `${what} is not described: ${text.slice(0, 300)}`);
      if (status >= 400 && method !== 'HEAD') fits(schema, json, what);
      return;
    }
    const response = operation.responses[status];
    assert.ok(response, `${what} is not described: ${text.slice(0, 300)}`);
    for (const [name, header] of Object.entries(response.headers ?? {})) {
      const { required = false, schema } = resolve(header);
      const value = headers.get(name);
      assert.ok(value !== null || !required, `${what} lacks ${name}`);
      if (value !== null) fits(schema, value, `${what}: ${name}`);
    }
    const type = headers.get('content-type')?.replace(/;.*/, '');
    if (!response.content || method === 'HEAD') {
      assert.equal(text, '', `${what} has a body`);
      return;
    }
    const content = response.content[type ?? ''];
    assert.ok(content, `${what} is ${type}`);
    if (type?.endsWith('json')) fits(content.schema, json, what);
  }

  function fits(schema: object, value: unknown, what: string): void {
    const validate = validator(schema);
    assert.ok(
      validate(value),
      `${what}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(value)?.slice(0, 500)}`,
    );
  }

  return { operations, check, resolve, accepts: (schema, value) => validator(schema)(value) as boolean };
}

// References are to the document, not to the part that is compiled.
function absolute(node: Node): Node {
  if (Array.isArray(node)) return node.map(absolute);
  if (node === null || typeof node !== 'object') return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [key, key === '$ref' ? `document${value}` : absolute(value)]),
  );
}

function at(node: Node, parts: string[]): Node {
  return parts.reduce((inner, part) => inner[part], node);
}

const unescapePart = (part: string) => decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
