import type { MiddlewareHandler } from 'hono';
import type { ErrorCode } from '../errors.ts';
import { scope } from './auth.ts';
import type { Env } from './context.ts';
import { pageOf } from './page.ts';
import { type Constraint, one, pluralOf, type Resource, type Schema, words } from './resource.ts';
import type { Taken } from './validate.ts';

type RequestHeader = 'Idempotency-Key' | 'If-Match' | 'If-None-Match';
type ResponseHeader = 'ETag' | 'Idempotent-Replayed' | 'Link' | 'Location';
type Answer = { description: string; schema?: Schema; headers?: ResponseHeader[]; type?: string };

/** What the OpenAPI document says about a route, besides the schemas of its validators. */
export type Operation = {
  operationId: string;
  summary: string;
  description: string;
  /** Undefined for a route that requires no token. */
  resource?: Resource;
  scope?: string;
  headers?: RequestHeader[];
  answers: Record<number, Answer>;
  problems: readonly ErrorCode[];
};

/** An operation without what is derived from its resource. */
type Base = Omit<Operation, 'resource' | 'scope'>;

/** The texts of an operation, and its problems in addition to those of its kind. */
type Own = { summary?: string; description?: string; problems?: readonly ErrorCode[] };

/** The problems of a route with a JSON body. */
export const ofJson = ['malformed-json', 'unsupported-media-type', 'validation-failed'] as const;
const ofWrites = ['outcome-unknown'] as const;
const ofKeys = [...ofWrites, 'invalid-idempotency-key', 'idempotency-key-reused'] as const;

/** Middleware that checks the scope and declares the operation for the OpenAPI document. */
export const operation = {
  /** GET of a page. */
  list: (of: Resource, own: Own = {}) =>
    declare(of, 'read', own, {
      operationId: `list${pluralOf(of)}`,
      summary: `List ${words(pluralOf(of))}`,
      description: 'Returns a page, in order of creation.',
      answers: { 200: { description: `A page of ${words(pluralOf(of))}`, schema: pageOf(of.view), headers: ['Link'] } },
      problems: ['invalid-cursor', 'validation-failed'],
    }),

  /** POST of a new resource. `shows` is the response's schema; it defaults to the view. */
  create: (of: Resource, own: Own & { shows?: Schema } = {}) =>
    declare(of, 'write', own, {
      operationId: `create${of.name}`,
      summary: `Create ${one(of)}`,
      description: '',
      headers: ['Idempotency-Key'],
      answers: {
        201: {
          description: `The created ${words(of.name)}`,
          schema: own.shows ?? of.view,
          headers: ['Location', 'ETag', 'Idempotent-Replayed'],
        },
      },
      problems: [...ofJson, ...ofKeys, ...conflictsOf(of)],
    }),

  /** GET of one resource. `shows` is as above. */
  read: (of: Resource, own: Own & { shows?: Schema } = {}) =>
    declare(of, 'read', own, {
      operationId: `get${of.name}`,
      summary: `Get ${one(of)}`,
      description: 'Returns 304 if the ETag matches.',
      headers: ['If-None-Match'],
      answers: {
        200: { description: `The ${words(of.name)}`, schema: own.shows ?? of.view, headers: ['ETag'] },
        304: { description: 'Not modified', headers: ['ETag'] },
      },
      problems: ['not-found'],
    }),

  /** PUT of one resource. */
  replace: (of: Resource, own: Own = {}) =>
    declare(of, 'write', own, {
      operationId: `replace${of.name}`,
      summary: `Replace ${one(of)}`,
      description: 'Without If-Match, the last write wins.',
      headers: ['If-Match'],
      answers: { 200: { description: `The replaced ${words(of.name)}`, schema: of.view, headers: ['ETag'] } },
      problems: [...ofJson, ...ofWrites, 'not-found', 'precondition-failed', ...conflictsOf(of)],
    }),

  /** DELETE of one resource. */
  remove: (of: Resource, own: Own = {}) =>
    declare(of, 'write', own, {
      operationId: `delete${of.name}`,
      summary: `Delete ${one(of)}`,
      description: '',
      headers: ['If-Match'],
      answers: { 204: { description: 'Deleted' } },
      problems: [...ofWrites, 'not-found', 'precondition-failed', 'validation-failed'],
    }),

  /** Any other operation of a resource. */
  of: (of: Resource, access: keyof Resource['scopes'], own: Base) => declare(of, access, {}, own),

  /** POST with an Idempotency-Key that acts on a resource, or creates one that has no version. */
  idempotent: (of: Resource, own: Base) =>
    declare(of, 'write', {}, { ...own, headers: ['Idempotency-Key'], problems: [...ofKeys, ...own.problems] }),

  /** A route that requires no token. */
  open: (own: Base) => {
    const pass: MiddlewareHandler<Env> = (_, next) => next();
    return Object.assign(pass, { operation: own });
  },
};

function declare(of: Resource, access: keyof Resource['scopes'], own: Own, base: Base) {
  const needed = of.scopes[access];
  const { summary = base.summary, description = base.description, problems = [] } = own;
  const operation: Operation = {
    ...base,
    summary,
    description,
    problems: [...base.problems, ...problems],
    resource: of,
    scope: needed,
  };
  return Object.assign(scope(needed), { operation });
}

/** The error codes of a write that violates the resource's constraints. */
function conflictsOf({ constraints = {} }: Resource): ErrorCode[] {
  return Object.values(constraints).map(({ code = 'conflict', parent }) => (parent ? 'validation-failed' : code));
}

/** A route of an app. `operation` and `validate` attach their declarations to its handlers. */
export type Routed = { method: string; path: string; handler: unknown };

/** Every declared operation of an app, in order, with its route. */
export function operationsOf(
  routes: readonly Routed[],
): (Operation & { method: string; path: string; takes: Taken[] })[] {
  return routes.flatMap(({ method, path, handler }) => {
    const { operation } = handler as { operation?: Operation };
    if (!operation) return [];
    const handlers = routes.filter((each) => each.method === method && each.path === path).map((each) => each.handler);
    return { ...operation, method, path, takes: handlers.flatMap((each) => (each as { takes?: Taken }).takes ?? []) };
  });
}

/** The resources of an app, in order. */
export const resourcesOf = (routes: readonly Routed[]): Resource[] => [
  ...new Set(operationsOf(routes).flatMap(({ resource }) => resource ?? [])),
];

/** All constraints that resources declare, by name. */
export const constraintsOf = (routes: readonly Routed[]): Record<string, Constraint> =>
  Object.assign({}, ...resourcesOf(routes).map(({ constraints }) => constraints));

/** All scopes that operations require, separated by spaces. */
export const scopesOf = (routes: readonly Routed[]): string =>
  [...new Set(operationsOf(routes).flatMap(({ scope }) => scope ?? []))].join(' ');
