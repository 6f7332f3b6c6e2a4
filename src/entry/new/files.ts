// The files of a resource, as text. Biome formats them once they are written.
import { withArticle } from '../../http/resource.ts';
import { capitalized, type Declaration, type Field, snakeCase } from './declaration.ts';

/** Returns them, keyed by project path. */
export function filesOf(declaration: Declaration): Record<string, string> {
  const { path } = declaration.names;
  return {
    [`src/${path}/schema.ts`]: schemaFile(declaration),
    [`src/${path}/store.ts`]: storeFile(declaration),
    [`src/${path}/routes.ts`]: routesFile(declaration),
    [`test/${path}/${path}.test.ts`]: testFile(declaration),
  };
}

const lines = (parts: (string | false)[]) => `${parts.filter((part) => part !== false).join('\n')}\n`;
const uniqueOf = (list: string[]) => [...new Set(list)].sort();

/** How each kind of field is written: its column, its input, an example, and what the first two import. */
const KINDS: Record<
  Field['kind'],
  {
    column(field: Field): string;
    pg: string[];
    input(field: Field): string;
    fields: string[];
    example(field: Field): unknown;
  }
> = {
  text: {
    column: ({ name }) => `pgText(${column(name)})`,
    pg: ['text as pgText'],
    input: () => 'text(1, 200)',
    fields: ['text'],
    example: ({ name }) => `Some ${snakeCase(name).replaceAll('_', ' ')}`,
  },
  integer: {
    column: ({ name }) => `integer(${column(name)})`,
    pg: ['integer'],
    input: () => 'int()',
    fields: ['integer as int'],
    example: () => 1,
  },
  boolean: {
    column: ({ name }) => `boolean(${column(name)})`,
    pg: ['boolean'],
    input: () => 'z.boolean()',
    fields: [],
    example: () => true,
  },
  timestamp: {
    column: ({ name }) => `time('${snakeCase(name)}')`,
    pg: [],
    input: () => 'instant()',
    fields: ['instant'],
    example: () => '2026-11-22T10:00:00.000Z',
  },
  uuid: {
    column: ({ name }) => `uuid(${column(name)})`,
    pg: [],
    input: () => 'id()',
    fields: ['id'],
    example: () => '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e60',
  },
  json: {
    column: ({ name }) => `pgJson(${column(name)}).$type<Record<string, unknown>>()`,
    pg: ['json as pgJson'],
    input: () => 'json(16_384)',
    fields: ['json'],
    example: () => ({ any: 'value' }),
  },
  enum: {
    column: ({ name, values }) => `pgText(${column(name, true)}{ enum: [${quoted(values)}] })`,
    pg: ['text as pgText'],
    input: ({ values }) => `z.enum([${quoted(values)}], 'must be one of ${values.join(', ')}')`,
    fields: [],
    example: ({ values }) => values[0],
  },
  reference: {
    column: ({ name, parent }) => `uuid(${column(name)}).references(() => ${parent?.name.camels}.id)`,
    pg: [],
    input: ({ parent }) => `id('must be the id of ${withArticle(parent?.name.words ?? '')}')`,
    fields: ['id'],
    example: () => '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e60',
  },
};

// Named only if it differs from the property's name.
const column = (name: string, more = false) =>
  snakeCase(name) === name ? '' : `'${snakeCase(name)}'${more ? ', ' : ''}`;
const quoted = (values: string[]) => values.map((value) => `'${value}'`).join(', ');

function inputOf(field: Field): string {
  const input = KINDS[field.kind].input(field);
  return field.optional ? `z._default(z.nullable(${input}), null)` : input;
}

function schemaFile({ names, fields }: Declaration): string {
  const { camels, pascal, table, words } = names;
  const kinds = fields.map((field) => KINDS[field.kind]);
  const indexes = fields.flatMap(({ name, unique, kind }) => {
    if (unique) return [`unique('${table}_${snakeCase(name)}_unique').on(t.${name})`];
    return kind === 'reference' ? [`index('${table}_${snakeCase(name)}').on(t.${name})`] : [];
  });
  const pg = uniqueOf([
    'integer',
    'pgTable',
    'uuid',
    ...kinds.flatMap((kind) => kind.pg),
    ...(fields.some(({ unique }) => unique) ? ['unique'] : []),
    ...(fields.some(({ unique, kind }) => kind === 'reference' && !unique) ? ['index'] : []),
  ]);
  const parents = uniqueOf(
    fields.flatMap(({ parent }) =>
      parent ? [`import { ${parent.name.camels} } from '../${parent.name.path}/schema.ts';`] : [],
    ),
  );
  const example = fields.map((field) => `${field.name}: ${JSON.stringify(exampleOf(field))}`);
  return lines([
    `import { ${pg.join(', ')} } from 'drizzle-orm/pg-core';`,
    "import * as z from 'zod/mini';",
    "import { time } from '../db.ts';",
    `import { ${uniqueOf(['documented', 'lazy', 'type Of', ...kinds.flatMap((kind) => kind.fields)]).join(', ')} } from '../fields.ts';`,
    ...parents,
    "import { view } from '../view.ts';",
    '',
    `export const ${camels} = pgTable('${table}', {`,
    '  id: uuid().primaryKey(),',
    ...fields.map((field, i) => `  ${field.name}: ${kinds[i]?.column(field)}${field.optional ? '' : '.notNull()'},`),
    '  version: integer().notNull().default(1),',
    "  createdAt: time('created_at').notNull(),",
    "  updatedAt: time('updated_at').notNull(),",
    `}${indexes.length > 0 ? `, (t) => [${indexes.join(', ')}]` : ''});`,
    '',
    `const example = { ${example.join(', ')} };`,
    '',
    '/** What POST and PUT take. */',
    `export const ${pascal}Input = lazy(() => documented(z.strictObject({`,
    ...fields.map((field) => `  ${field.name}: ${inputOf(field)},`),
    `}), { id: '${pascal}Input', examples: [example] }));`,
    `export type ${pascal}Input = Of<typeof ${pascal}Input>;`,
    '',
    `/** ${capitalized(withArticle(words))} as the API shows it. */`,
    `export const ${pascal}View = view('${pascal}', ${camels}, { example });`,
    `export type ${pascal} = NonNullable<typeof ${pascal}View.row>;`,
  ]);
}

// A reference that is optional is left out, so that the example works wherever it is tried.
const exampleOf = (field: Field) =>
  field.kind === 'reference' && field.optional ? null : KINDS[field.kind].example(field);

function storeFile({ names, fields }: Declaration): string {
  const unique = fields.filter((field) => field.unique).map(({ name }) => name);
  // Two updates that swap such values would deadlock.
  const alsoLock = unique.length > 0 ? `\n  ($) => store.having($, ${quoted(unique)}),` : '';
  const { camels, event, pascal, pascals, words, path } = names;
  return `import { sql } from 'drizzle-orm';
import { reserveKey } from '../idempotency/reserve-key.ts';
import { enqueue } from '../outbox/enqueue.ts';
import { creating, tableStore } from '../table-store.ts';
import { ${camels}, type ${pascal}, type ${pascal}Input, ${pascal}View } from './schema.ts';

const store = tableStore(${pascal}View, '${words}');
export const find${pascal} = store.find;
export const list${pascals} = store.list;

// The CTE \`changed\` has the row after the change or, for a deletion, before it.
const event = { from: sql\`changed\`, data: ${pascal}View.json('changed') };

export const create${pascal} = creating<Omit<${pascal}, 'version'>>(
  '${path}.create',
  ($) => sql\`
    with \${reserveKey($)}, changed as (
      insert into \${${camels}} \${store.values($)} from reservation where fresh returning *
    ), \${enqueue({ ...event, type: sql\`'${event}.created'\` })}
    select fresh, same, response from reservation\`,
);

export const update${pascal} = store.conditional<${pascal}Input & { now: string }>(
  'update',
  ($) => sql\`changed as (
      update \${${camels}} t set \${store.assignments($, 't')} from matching where t.id = matching.id returning t.*
    ), \${enqueue({ ...event, type: sql\`'${event}.updated'\` })}\`,${alsoLock}
);

export const remove${pascal} = store.conditional(
  'remove',
  () => sql\`changed as (
      delete from \${${camels}} t using matching where t.id = matching.id returning t.*
    ), \${enqueue({ ...event, type: sql\`'${event}.deleted'\` })}\`,
);
`;
}

function routesFile({ names, fields }: Declaration): string {
  const { camel, camels, event, pascal, pascals, words, path, table } = names;
  const one = withArticle(words);
  const One = capitalized(one);
  const constraints = fields.flatMap(({ name, unique, parent }) => [
    ...(unique
      ? [`${table}_${snakeCase(name)}_unique: { detail: 'Another ${words} has this ${name}.', pointer: '#/${name}' },`]
      : []),
    ...(parent
      ? [
          `${table}_${snakeCase(name)}_${parent.table}_id_fk: {`,
          `  detail: '${One} refers to this ${parent.name.words}.',`,
          `  pointer: '#/${name}',`,
          `  parent: '${parent.name.pascal}',`,
          '},',
        ]
      : []),
  ]);
  return `import { empty } from '../http/answer.ts';
import { router } from '../http/context.ts';
import { created, newRow } from '../http/created.ts';
import { conditional, withEtag, writeOf } from '../http/etag.ts';
import { answerWith, reservationOf } from '../http/idempotency.ts';
import { operation } from '../http/operation.ts';
import { pageOfQuery, pageQuery, pageResponse } from '../http/page.ts';
import type { Resource } from '../http/resource.ts';
import { byId, validate } from '../http/validate.ts';
import { ${pascal}Input, ${pascal}View } from './schema.ts';
import { create${pascal}, find${pascal}, list${pascals}, remove${pascal}, update${pascal} } from './store.ts';

const ${camels}: Resource = {
  name: '${pascal}',${pascals === `${pascal}s` ? '' : `\n  plural: '${pascals}',`}
  description: 'Manage ${path.replaceAll('-', ' ')}.',
  scopes: { read: '${path}:read', write: '${path}:write' },
  view: ${pascal}View.schema,
  events: {
    '${event}.created': { description: '${One} was created.' },
    '${event}.updated': { description: '${One} was changed.' },
    '${event}.deleted': { description: '${One} was deleted. The data is the ${words} as it last was.' },
  },
${constraints.length > 0 ? `  constraints: {\n${constraints.join('\n')}\n  },\n` : ''}};

export const ${camels}Routes = router()
  .get('/', operation.list(${camels}), validate('query', pageQuery), async (c) => {
    const query = c.req.valid('query');
    return pageResponse(c, query, await list${pascals}(c.env.db, pageOfQuery(c, query), c.get('signal')));
  })
  .post('/', operation.create(${camels}), validate('json', ${pascal}Input), async (c) => {
    const input = c.req.valid('json');
    const ${camel} = newRow(c, input);
    const reservation = reservationOf(c, input, created(c, ${camel}));
    const row = await create${pascal}(c.env.db, { ...${camel}, ...reservation }, c.get('signal'));
    c.env.wake();
    return answerWith(c, reservation, row);
  })
  .get('/:id', operation.read(${camels}), byId, async (c) =>
    conditional(c, await find${pascal}(c.env.db, c.req.valid('param').id, c.get('signal'))),
  )
  .put('/:id', operation.replace(${camels}), byId, validate('json', ${pascal}Input), async (c) => {
    const change = { ...c.req.valid('param'), ...c.req.valid('json'), ...writeOf(c) };
    const ${camel} = await update${pascal}(c.env.db, change, c.get('signal'));
    c.env.wake();
    return withEtag(c, ${camel});
  })
  .delete('/:id', operation.remove(${camels}), byId, async (c) => {
    await remove${pascal}(c.env.db, { ...c.req.valid('param'), ...writeOf(c) }, c.get('signal'));
    c.env.wake();
    return empty(c, 204);
  });
`;
}

function testFile({ names, fields }: Declaration): string {
  const { camels, event, words, path } = names;
  const refused = fields.filter(({ unique, parent }) => unique || parent);
  const cases = refused.map(({ name, unique, parent }) =>
    parent
      ? `
  test('${withArticle(words)} needs ${name} of ${withArticle(parent.name.words)} that exists, which cannot be deleted meanwhile', async () => {
    await ${camels}.refusesAMissingParent('${name}');
    await ${camels}.keepsItsParent('${name}');
  });
`
      : unique
        ? `
  test('no two have the same ${name}', async () => {
    await ${camels}.isUniqueBy('${name}');
  });
`
        : '',
  );
  return `import { test } from 'node:test';
import { collectionOn } from '../support/collections.ts';
import { onEveryDatabase } from '../support/databases.ts';

// What every collection has is tested in test/conformance/, on every runtime. Here is the place for rules of its own.
onEveryDatabase('${path}', (db) => {
  const ${camels} = collectionOn(db, '/${path}');

  test('${withArticle(words)} is created with its event, found, listed, replaced and deleted', async () => {
    await ${camels}.livesThrough(['${event}.created', '${event}.updated', '${event}.deleted']);
  });
${cases.join('')}});
`;
}
