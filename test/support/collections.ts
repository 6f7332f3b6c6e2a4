// Every collection that the app declares, with bodies derived from the declaration: a new resource inherits the tests.
import assert from 'node:assert/strict';
import * as z from 'zod/mini';
import { app } from '../../src/app.ts';
import type { Db } from '../../src/db.ts';
import { operationsOf } from '../../src/http/operation.ts';
import type { Resource, Schema } from '../../src/http/resource.ts';
import { unique, uniqueEmail } from '../conformance/target.ts';
import { apiOn } from './api.ts';
import { rowsOf } from './notifications.ts';

type Body = Record<string, unknown>;
type Property = { type?: string | string[]; format?: string; enum?: string[]; anyOf?: Property[] };
/** Creates a resource, whether the tests call a server or the app directly. */
type Post = (path: string, body: Body) => Promise<{ json: { id: string } }>;

export type Collection = {
  /** Relative to /api/v1. */
  path: string;
  resource: Resource;
  /** Returns a valid POST body, a different one on each call. Creates the parents that it needs. */
  make(post: Post): Promise<Body>;
  /** Returns the body with one value changed; the same for the same body, if text can be changed freely. */
  change(body: Body, post: Post): Promise<Body>;
};

const operations = operationsOf(app.routes);

export const collections: Collection[] = operations.flatMap(({ method, path, resource, takes }) => {
  const input = takes.find(({ target }) => target === 'json')?.schema;
  const isReplaced = operations.some((other) => other.method === 'PUT' && other.path === `${path}/:id`);
  if (method !== 'POST' || !isReplaced || !resource || !input) return [];
  return collectionOf(path.replace('/api/v1', ''), resource, input);
});

function collectionOf(path: string, resource: Resource, input: Schema): Collection {
  const { id, examples: [example] = [] } = z.globalRegistry.get(input()) as { id: string; examples?: [Body] };
  assert.ok(example, `${path} has no example`);
  const { $defs = {} } = z.toJSONSchema(input(), { io: 'input', unrepresentable: 'any' });
  const { properties = {} } = $defs[id] as { properties?: Record<string, Property> };
  const constrained: { name: string; parent: string | undefined }[] = Object.values(resource.constraints ?? {}).flatMap(
    ({ pointer, parent }) => (pointer ? { name: pointer.slice(2), parent } : []),
  );
  return {
    path,
    resource,
    async make(post) {
      const body = { ...example };
      for (const [name, property] of Object.entries(properties)) {
        if (property.format === 'email') body[name] = uniqueEmail();
      }
      for (const { name, parent } of constrained) {
        // A reference that is unique has two constraints.
        if (constrained.some((other) => other.name === name && other.parent && !parent)) continue;
        if (!parent) body[name] = uniqueValue(properties[name] as Property, example[name]);
        else if (example[name] !== null) body[name] = await newParent(parent, post);
      }
      return body;
    },
    async change(body, post) {
      const kept = constrained.map(({ name }) => name);
      for (const [name, property] of Object.entries(properties)) {
        const isFree = !kept.includes(name) && property.format !== 'email';
        const other = isFree ? otherValue(property, body[name]) : undefined;
        if (other !== undefined) return { ...body, [name]: other };
      }
      const [{ name, parent } = {}] = constrained;
      assert.ok(name, `${path} has nothing that can be changed`);
      const other = parent ? await newParent(parent, post) : uniqueValue(properties[name] as Property, example[name]);
      return { ...body, [name]: other };
    },
  };
}

async function newParent(name: string, post: Post): Promise<string> {
  const parent = collections.find(({ resource }) => resource.name === name);
  assert.ok(parent, `there is no ${name} to refer to`);
  return (await post(parent.path, await parent.make(post))).json.id;
}

/** Returns the schema of a property's non-null values. */
const plain = (property: Property): Property => property.anyOf?.[0] ?? property;

function uniqueValue(property: Property, example: unknown): unknown {
  const { type, format } = plain(property);
  if (format === 'uuid') return crypto.randomUUID();
  if (format === 'date-time') return new Date(Math.floor(Math.random() * 4e12)).toISOString();
  return type === 'integer' ? Math.floor(Math.random() * 2 ** 31) : `${example} ${unique()}`;
}

function otherValue(property: Property, value: unknown): unknown {
  const { enum: values, format } = plain(property);
  if (values) return values.find((other) => other !== value);
  if (format === 'uuid') return crypto.randomUUID();
  if (format === 'date-time') return new Date(Math.floor(Math.random() * 4e12)).toISOString();
  switch (typeof value) {
    case 'string':
      // A URL remains a URL.
      return `${value}-2`;
    case 'number':
      return value + 1;
    case 'boolean':
      return !value;
    default:
      return value === null || value === undefined ? undefined : { other: unique() };
  }
}

const NOWHERE = '01900000-0000-7000-8000-000000000000';

/** Checks the properties of a collection that depend on the database, calling the app directly on `db`. */
export function collectionOn(db: Db, path: string) {
  const call = apiOn(db);
  const found = collections.find((each) => each.path === path);
  assert.ok(found, `${path} is no collection`);
  const { make, change, resource } = found;
  const post: Post = async (to, body) => {
    const answer = await call('POST', to, { body });
    assert.equal(answer.status, 201, JSON.stringify(answer.json));
    return answer;
  };
  const parentOf = (member: string) => {
    const { parent } =
      Object.values(resource.constraints ?? {}).find((each) => each.parent && each.pointer === `#/${member}`) ?? {};
    assert.ok(parent, `${member} is no reference`);
    return parent;
  };

  return {
    /** Creates, gets, lists, replaces and deletes one: each change sends its event, with the resource as it then is. */
    async livesThrough(events: string[]): Promise<void> {
      const hook = { url: 'https://example.com/', events: events.length > 0 ? events : ['nothing.ever'] };
      assert.equal((await call('POST', '/webhook-endpoints', { body: hook })).status, 201);
      const body = await make(post);
      const { id } = (await post(path, body)).json;
      const { json: made } = await call('GET', `${path}/${id}`);
      assert.deepEqual(made, { ...made, ...body });
      const listed = await call('GET', `${path}?limit=100`);
      assert.ok(listed.json.data.some((each: { id: string }) => each.id === id));
      const other = await change(body, post);
      const changed = await call('PUT', `${path}/${id}`, { body: other });
      assert.equal(changed.status, 200, JSON.stringify(changed.json));
      assert.deepEqual(changed.json, { ...made, ...other, version: 2, updatedAt: changed.json.updatedAt });
      assert.equal((await call('DELETE', `${path}/${id}`)).status, 204);
      assert.equal((await call('GET', `${path}/${id}`)).status, 404);
      const sent = await rowsOf<{ body: string }>(
        db,
        `select body from messages where body like '%${id}%' order by id`,
      );
      const told = sent.map((row) => JSON.parse(row.body) as { type: string; data: unknown });
      const states = [made, changed.json, changed.json];
      assert.deepEqual(
        told.filter(({ type }) => events.includes(type)).map(({ type, data }) => ({ type, data })),
        events.map((type, i) => ({ type, data: states[i] })),
      );
    },

    /** A second resource with the same `member` is a conflict that names it, on POST and on PUT. */
    async isUniqueBy(member: string): Promise<void> {
      const body = await make(post);
      await post(path, body);
      const other = await make(post);
      const { id } = (await post(path, other)).json;
      for (const [method, to, from] of [
        ['POST', path, await make(post)],
        ['PUT', `${path}/${id}`, other],
      ] as const) {
        const { status, json } = await call(method, to, { body: { ...from, [member]: body[member] } });
        assert.equal(status, 409, JSON.stringify(json));
        assert.equal(json.errors[0].pointer, `#/${member}`);
      }
    },

    /** A `member` that refers to nothing is a validation error that names it. */
    async refusesAMissingParent(member: string): Promise<void> {
      const { status, json } = await call('POST', path, { body: { ...(await make(post)), [member]: NOWHERE } });
      assert.equal(status, 422, JSON.stringify(json));
      assert.equal(json.errors[0].pointer, `#/${member}`);
    },

    /** The resource that `member` refers to cannot be deleted until the referring one is. */
    async keepsItsParent(member: string): Promise<void> {
      const parent = collections.find((each) => each.resource.name === parentOf(member)) as Collection;
      const parentId = await newParent(parentOf(member), post);
      const { id } = (await post(path, { ...(await make(post)), [member]: parentId })).json;
      const refused = await call('DELETE', `${parent.path}/${parentId}`);
      assert.equal(refused.status, 409, JSON.stringify(refused.json));
      assert.equal((await call('DELETE', `${path}/${id}`)).status, 204);
      assert.equal((await call('DELETE', `${parent.path}/${parentId}`)).status, 204);
    },
  };
}
