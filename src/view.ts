import { type SQL, sql } from 'drizzle-orm';
import type { PgArray, PgColumn, PgTable } from 'drizzle-orm/pg-core';
import { getTableColumns } from 'drizzle-orm/utils';
import * as z from 'zod/mini';
import { rfc3339 } from './db.ts';
import { documented, lazy, time } from './fields.ts';

/** A table's rows as the API shows them: a schema and SQL, both derived from the table's columns. */
export type View<R> = {
  readonly table: PgTable;
  readonly keys: readonly string[];
  readonly schema: () => z.ZodMiniObject;
  /** The example in the OpenAPI document. */
  readonly example: object;
  /** The columns of `alias`, with their names in the API. */
  columns(alias?: string): SQL;
  /** The row `alias` as JSON. `others` replaces or adds members. */
  json(alias: string, others?: Record<string, SQL>): SQL;
  readonly row?: R;
};

type Options<K> = {
  /** The columns to show, in this order. Default: all. */
  only?: readonly K[];
  /** Example values of the columns, except for those that every resource has. */
  example: Record<string, unknown>;
  /** Overrides of the schemas that are derived from the column types. */
  schemas?: Record<string, () => z.core.$ZodType>;
};

/** Creates a view of `table`. `name` is its name in the OpenAPI document. */
export function view<T extends PgTable, K extends keyof T['$inferSelect'] & string>(
  name: string,
  table: T,
  { only, example, schemas = {} }: Options<K>,
): View<Pick<T['$inferSelect'], K>> {
  const columns = getTableColumns(table) as Record<string, PgColumn>;
  const keys = only ?? (Object.keys(columns) as K[]);
  const pairs = keys.map((key) => [key, columns[key] as PgColumn] as const);
  const whole = { ...common(keys), ...example };
  return {
    table,
    keys,
    example: whole,
    schema: lazy(() =>
      documented(
        z.object(
          Object.fromEntries(
            pairs.map(([key, each]) => [key, (Object.hasOwn(schemas, key) && schemas[key]?.()) || schemaOf(each)]),
          ),
        ),
        {
          id: name,
          examples: [whole],
        },
      ),
    ),
    columns: (alias) =>
      sql.join(
        pairs.map(([key, { name }]) => sql`${of(name, alias)} as ${sql.identifier(key)}`),
        sql`, `,
      ),
    json(alias, others = {}) {
      const members = new Map(pairs.map(([key, each]) => [key as string, jsonOf(each, of(each.name, alias))]));
      for (const [key, value] of Object.entries(others)) members.set(key, value);
      const list = Array.from(members, ([key, value]) => sql`${sql.raw(`'${key}'`)}, ${value}`);
      return sql`json_build_object(${sql.join(list, sql`, `)})`;
    },
  };
}

const of = (name: string, alias?: string): SQL =>
  alias ? sql`${sql.identifier(alias)}.${sql.identifier(name)}` : sql`${sql.identifier(name)}`;

// In the order of the view's keys.
function common(keys: readonly string[]): Record<string, unknown> {
  const at = '2026-11-22T10:00:00.000Z';
  const values: Record<string, unknown> = {
    id: '019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
    version: 1,
    createdAt: at,
    updatedAt: at,
  };
  return Object.fromEntries(keys.map((key) => [key, values[key]]));
}

const jsonOf = ({ columnType }: PgColumn, value: SQL) => (columnType === 'PgTimestampString' ? rfc3339(value) : value);

function schemaOf(column: PgColumn): z.ZodMiniType {
  const schema = schemaOfType(column);
  return column.notNull ? schema : z.nullable(schema);
}

function schemaOfType(column: PgColumn): z.ZodMiniType {
  switch (column.columnType) {
    case 'PgUUID':
      return z.uuid();
    case 'PgText':
      return column.enumValues?.length ? z.enum(column.enumValues) : z.string();
    case 'PgInteger':
      return z.int();
    case 'PgBoolean':
      return z.boolean();
    case 'PgTimestampString':
      return time();
    case 'PgJson':
      return z.looseObject({});
    case 'PgArray':
      return z.array(schemaOfType((column as unknown as PgArray<never, never>).baseColumn as PgColumn));
    default:
      return z.unknown();
  }
}
