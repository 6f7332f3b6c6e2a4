import { getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';
import { getTableColumns } from 'drizzle-orm/utils';
import { type Db, type Joined, type Params, statement } from './db.ts';
import { AppError } from './errors.ts';
import { type ReservationRow, type ReservationValues, runReserving } from './idempotency/reserve-key.ts';
import type { View } from './view.ts';

type Conditions = { id: string; versions: string | null };

/**
 * The operations that all stores of resources have, on the table of `view`. `noun` is a row's name in messages. The SQL
 * of a change belongs in the resource's own store.
 */
export function tableStore<R extends { id: string }>(view: View<R>, noun: string) {
  const { table } = view;
  const name = getTableName(table);

  const find = statement<{ id: string }, R>(
    `${name}.find`,
    ($) => sql`select ${view.columns()} from ${table} where id = ${$.id}::uuid`,
    'reads',
  );
  const list = statement<{ after: string; limit: number }, R>(
    `${name}.list`,
    ($) => sql`select ${view.columns()} from ${table} where id > ${$.after}::uuid order by id limit ${$.limit}::int`,
    'reads',
  );

  const columns = getTableColumns(table) as Record<string, PgColumn>;
  /** The columns of the view without `except`, each with the value of the same name. */
  const given = ($: object, except: string[]) =>
    view.keys
      .filter((key) => !except.includes(key))
      .map((key) => ({ name: (columns[key] as PgColumn).name, value: cast($, key, columns[key] as PgColumn) }));

  return {
    /** `(id, name, …) select …`: the columns of a new row and their values. The version defaults to 1. */
    values($: object): SQL {
      const list = given($, ['version']);
      return sql`(${commas(list.map(({ name }) => sql.identifier(name)))}) select ${commas(list.map(({ value }) => value))}`;
    },

    /** `name = …, version = version + 1, updated_at = …`: the assignments of a PUT to the row `alias`. */
    assignments($: object, alias: string): SQL {
      const list = given($, ['id', 'version', 'createdAt', 'updatedAt']);
      const replaced = list.map(({ name, value }) => sql`${sql.identifier(name)} = ${value}`);
      const now = ($ as Params<{ now: string }>).now;
      return commas([
        ...replaced,
        sql`version = ${sql.identifier(alias)}.version + 1`,
        sql`updated_at = ${now}::timestamptz`,
      ]);
    },

    /** Whether a row has one of the new values of these unique columns. `conditional` has to lock it, too. */
    having($: object, ...keys: string[]): SQL {
      const same = keys.map((key) => sql`${columns[key]} = ${cast($, key, columns[key] as PgColumn)}`);
      return sql.join(same, sql` or `);
    },

    /** Throws AppError `not-found`. */
    async find(db: Db, id: string, signal: AbortSignal): Promise<R> {
      const [row] = await db.run(find, { id }, signal);
      if (!row) throw noSuch(noun);
      return row;
    },

    /** Returns rows after the id `after`, in order of creation: one more than `limit` if there are more. */
    list(db: Db, { after, limit }: { after: string | null; limit: number }, signal: AbortSignal): Promise<R[]> {
      return db.run(list, { after: after ?? BEFORE_ALL, limit: limit + 1 }, signal);
    },

    /**
     * Writes to the row `id` if its version is in `versions`, the text of a Postgres array (null: any version).
     * `change` is the CTE `changed`, which changes the row in `matching` and returns it, and any further CTEs. Rows for
     * which `alsoLock` is true are locked with it, in order of ids. Throws AppError `not-found` and
     * `precondition-failed`.
     */
    conditional<V>(
      what: string,
      change: ($: Params<V & Conditions>) => SQL,
      alsoLock?: ($: Params<V & Conditions>) => SQL,
      /** The message if nothing was changed although the version matches. */
      refused?: string,
    ) {
      // Locking first tells a missing row from another version in one round trip. Counting forces all locks before the
      // change, so that two writes that lock each other's rows cannot deadlock. No field begins with an underscore.
      const write = statement<V & Conditions, { _found: boolean; _matches: boolean } & Joined<R>>(
        `${name}.${what}`,
        ($) => sql`
          with locked as materialized (
            select id, version from ${table}
            where id = ${$.id}::uuid ${alsoLock ? sql`or ${alsoLock($)}` : sql``}
            order by id for update
          ), target as (
            select id, version from locked where id = ${$.id}::uuid and (select count(*) from locked) > 0
          ), matching as (
            select id from target where ${$.versions}::text is null or version = any((${$.versions}::text)::int[])
          ), ${change($)}
          select exists (select from target) as _found, exists (select from matching) as _matches,
                 ${view.columns('changed')}
          from (select) one left join changed on true`,
      );
      return async (db: Db, values: V & Conditions, signal: AbortSignal): Promise<R> => {
        const [row] = await db.run(write, values, signal);
        if (!row?._found) throw noSuch(noun);
        if (row.id === null && row._matches && refused !== undefined) throw new AppError('conflict', refused);
        if (row.id === null)
          throw new AppError('precondition-failed', `The ${noun} has changed since the version in If-Match.`);
        const { _found, _matches, ...shown } = row;
        return shown as unknown as R;
      };
    },
  };
}

const commas = (parts: Parameters<typeof sql.join>[0]): SQL => sql.join(parts, sql`, `);

// JSON is already text: a parameter of type json would be encoded twice.
function cast($: object, key: string, column: PgColumn): SQL {
  const value = ($ as Record<string, unknown>)[key];
  const type = sql.raw(column.getSQLType());
  return column.columnType === 'PgJson' ? sql`(${value}::text)::${type}` : sql`${value}::${type}`;
}

/**
 * Declares a statement that begins with `reserveKey` and selects its reservation. If the reservation's precondition
 * does not hold, throws the error that `refused` creates.
 */
export function creating<V>(name: string, build: ($: Params<V & ReservationValues>) => SQL, refused?: () => AppError) {
  const create = statement<V & ReservationValues, ReservationRow>(name, build, 'inserts');
  return async (db: Db, values: V & ReservationValues, signal: AbortSignal): Promise<ReservationRow> => {
    const [row] = await runReserving(db, create, values, signal, (first) => first === undefined);
    if (!row) throw refused?.() ?? new Error(`${name} returned no row`);
    return row;
  };
}

/** Sorts before every id. */
export const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';
/** Sorts after every id. */
export const AFTER_ALL = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

export const noSuch = (noun: string) => new AppError('not-found', `There is no such ${noun}.`);
