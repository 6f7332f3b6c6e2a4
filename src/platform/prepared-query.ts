import pg from 'pg';
import { TIMESTAMPTZ, timestamptz } from '../db.ts';

/** Parts of pg's connections that its types do not declare. */
type Wire = pg.Connection & {
  parsedStatements: Record<string, string>;
  submittedNamedStatements: Record<string, string>;
  parse(statement: { name: string; text: string }): void;
  bind(config: { statement: string; values: readonly unknown[]; valueMapper: (value: unknown) => string | null }): void;
  describe(what: { type: 'P' }): void;
  execute(): void;
  sync(): void;
};
/** A statement with its parameters. */
export type BoundQuery = { name: string; text: string; params: readonly unknown[] };
type Field = { name: string; dataTypeID: number };
type Column = { name: string; parse: (text: string) => unknown };
type Row = Record<string, unknown>;

/** Gets the rows of each statement once all are committed, or the error of the one that made all fail. */
type Callback = (error: Error | null, rows: Row[][]) => void;

/** The row descriptions of prepared statements, per connection. They never change. */
const columnsOf = new WeakMap<Wire, Map<string, Column[]>>();

// pg pipelines only queries of its own class.
const PgQuery = pg.Query as unknown as new (text: string) => object;

/**
 * Statements that are sent together and run as one transaction. Each is prepared, and its rows described, once per
 * connection. Postgres commits at the final Sync, and skips to it after an error. Values are parsed as pg does, except
 * times.
 */
export class PreparedQuery extends PgQuery {
  /** Name and text of the statement whose answer is awaited: pg uses them to note what is prepared. */
  name = '';
  text = '';
  callback: Callback;
  private readonly statements: readonly BoundQuery[];
  private readonly found: Row[][] = [];
  private current: Row[] = [];
  private columns: Column[] | undefined;
  private described: Map<string, Column[]> | undefined;
  private failed: Error | undefined;

  constructor(statements: readonly BoundQuery[], callback: Callback) {
    super('');
    this.statements = statements;
    this.callback = callback;
  }

  submit(connection: pg.Connection): null {
    const wire = connection as Wire;
    this.described = columnsOf.get(wire);
    if (!this.described) {
      this.described = new Map();
      columnsOf.set(wire, this.described);
    }
    for (const { name, text, params } of this.statements) {
      if (wire.parsedStatements[name] === undefined && wire.submittedNamedStatements[name] === undefined) {
        wire.parse({ name, text });
        // The server does not keep unnamed statements.
        if (name !== '') wire.submittedNamedStatements[name] = text;
      }
      wire.bind({ statement: name, values: params, valueMapper: asText });
      if (!this.described.has(name)) wire.describe({ type: 'P' });
      wire.execute();
    }
    wire.sync();
    this.expectNext();
    return null;
  }

  private expectNext(): void {
    const next = this.statements[this.found.length];
    if (!next) return;
    this.name = next.name;
    this.text = next.text;
    this.columns = this.described?.get(next.name);
    this.current = [];
  }

  handleRowDescription({ fields }: { fields: Field[] }): void {
    this.columns = fields.map(({ name, dataTypeID }) => ({
      name,
      parse: dataTypeID === TIMESTAMPTZ ? timestamptz : pg.types.getTypeParser(dataTypeID, 'text'),
    }));
    if (this.name !== '') this.described?.set(this.name, this.columns);
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    const row: Row = {};
    const columns = this.columns as Column[];
    try {
      for (let i = 0; i < columns.length; i++) {
        const { name, parse } = columns[i] as Column;
        const text = fields[i] as string | null;
        row[name] = text === null ? null : parse(text);
      }
    } catch (error) {
      this.failed = error as Error;
    }
    this.current.push(row);
  }

  handleCommandComplete(): void {
    this.found.push(this.current);
    this.expectNext();
  }

  handleEmptyQuery(): void {
    this.handleCommandComplete();
  }

  /** Only now are they committed. */
  handleReadyForQuery(): void {
    this.callback(this.failed ?? null, this.found);
  }

  handleError(error: Error, connection: pg.Connection): void {
    // The preparation of the failed one may be what failed, and those after it were skipped.
    for (const { name } of this.statements.slice(this.found.length)) {
      delete (connection as Wire).submittedNamedStatements[name];
    }
    this.callback(error, []);
  }
}

const asText = (value: unknown) => (value === null || value === undefined ? null : String(value));
