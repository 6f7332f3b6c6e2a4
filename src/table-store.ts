import { getTableName, type SQL, sql } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';
import { getTableColumns } from 'drizzle-orm/utils';
import { type Db, type Params, statement } from './db.ts';
import { AppError } from './errors.ts';
import type { ReservationRow, ReservationValues } from './idempotency/reserve-key.ts';
import type { View } from './view.ts';

type Conditions = { id: string; versions: string | null };

/**
 * What the store of every resource has, over the table of `view`. `noun` is what a client calls one of its rows. Write
 * the SQL of a change in the resource's own store.
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
  /** The columns of the view but for those that are kept otherwise, with the values of the same names. */
  const given = ($: object, except: string[]) =>
    view.keys
      .filter((key) => !except.includes(key))
      .map((key) => ({ name: (columns[key] as PgColumn).name, value: cast($, key, columns[key] as PgColumn) }));

  return {
    /** `(id, name, …) select …`: the columns of a new row, and their values. The version is 1 by default. */
    values($: object): SQL {
      const list = given($, ['version']);
      return sql`(${commas(list.map(({ name }) => sql.identifier(name)))}) select ${commas(list.map(({ value }) => value))}`;
    },

    /** `name = …, version = version + 1, updated_at = …`: what PUT replaces in the row `alias`. */
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

    /** Throws AppError `not-found`. */
    async find(db: Db, id: string, signal: AbortSignal): Promise<R> {
      const [row] = await db.run(find, { id }, signal);
      if (!row) throw noSuch(noun);
      return row;
    },

    /** In order of creation, after the id `after`; one more than `limit` where there are more. */
    list(db: Db, { after, limit }: { after: string | null; limit: number }, signal: AbortSignal): Promise<R[]> {
      return db.run(list, { after: after ?? BEFORE_ALL, limit: limit + 1 }, signal);
    },

    /**
     * A write to the row `id` where its version is among `versions`, the text of a Postgres array (null: any).
     * `change` is the CTE `changed`, which changes the row in `matching` and returns it, and what follows from it.
     * Whichever rows `alsoLock` is true of are locked with it, in order of ids. Throws AppError `not-found` and
     * `precondition-failed`.
     */
    conditional<V>(
      what: string,
      change: ($: Params<V & Conditions>) => SQL,
      alsoLock?: ($: Params<V & Conditions>) => SQL,
    ) {
      // The row is locked first, so that "no such row" and "another version" are told apart in one round trip. All are
      // counted before anything is changed: two who lock each other's rows must not wait for one another.
      const write = statement<V & Conditions, { found: boolean } & (R | { [K in keyof R]: null })>(
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
          select exists (select from target) as found, ${view.columns('changed')}
          from (select) one left join changed on true`,
      );
      return async (db: Db, values: V & Conditions, signal: AbortSignal): Promise<R> => {
        const [row] = await db.run(write, values, signal);
        if (!row?.found) throw noSuch(noun);
        if (row.id === null) throw new AppError('precondition-failed', `The ${noun} has changed since that version.`);
        const { found: _, ...shown } = row;
        return shown as unknown as R;
      };
    },
  };
}

const commas = (parts: Parameters<typeof sql.join>[0]): SQL => sql.join(parts, sql`, `);

// JSON comes as text, which a parameter of type json would be encoded in once more.
function cast($: object, key: string, column: PgColumn): SQL {
  const value = ($ as Record<string, unknown>)[key];
  const type = sql.raw(column.getSQLType());
  return column.columnType === 'PgJson' ? sql`(${value}::text)::${type}` : sql`${value}::${type}`;
}

/**
 * A statement that begins with `reserveKey` and selects its reservation. Throws what `refused` makes where the
 * precondition of the reservation does not hold, and so there is none.
 */
export function creating<V>(name: string, build: ($: Params<V & ReservationValues>) => SQL, refused?: () => AppError) {
  const create = statement<V & ReservationValues, ReservationRow>(name, build, 'inserts');
  return async (db: Db, values: V & ReservationValues, signal: AbortSignal): Promise<ReservationRow> => {
    const [row] = await db.run(create, values, signal);
    if (!row) throw refused?.() ?? new Error(`${name} returned no row`);
    return row;
  };
}

/** Comes before every id. */
export const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

export const noSuch = (noun: string) => new AppError('not-found', `There is no such ${noun}.`);
