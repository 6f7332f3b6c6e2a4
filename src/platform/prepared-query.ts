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
export type Sent = { name: string; text: string; params: readonly unknown[] };
type Field = { name: string; dataTypeID: number };
type Column = { name: string; parse: (text: string) => unknown };
type Row = Record<string, unknown>;

/** Receives the rows once the statement is committed, or the error. */
type Callback = (error: Error | null, rows: Row[]) => void;

/** The row descriptions of prepared statements, per connection. They never change. */
const columnsOf = new WeakMap<Wire, Map<string, Column[]>>();

// pg pipelines only queries of its own class.
const PgQuery = pg.Query as unknown as new (text: string) => object;

/** A query that is prepared and described once per connection. Values are parsed as by pg, except for times. */
export class PreparedQuery extends PgQuery {
  readonly name: string;
  readonly text: string;
  callback: Callback;
  private readonly params: readonly unknown[];
  private readonly found: Row[] = [];
  private columns: Column[] | undefined;
  private described: Map<string, Column[]> | undefined;
  private failed: Error | undefined;

  constructor({ name, text, params }: Sent, callback: Callback) {
    super(text);
    this.name = name;
    this.text = text;
    this.params = params;
    this.callback = callback;
  }

  submit(connection: pg.Connection): null {
    const wire = connection as Wire;
    const { name, text } = this;
    if (wire.parsedStatements[name] === undefined && wire.submittedNamedStatements[name] === undefined) {
      wire.parse({ name, text });
      // The server does not keep unnamed statements.
      if (name !== '') wire.submittedNamedStatements[name] = text;
    }
    wire.bind({ statement: name, values: this.params, valueMapper: asText });
    this.described = columnsOf.get(wire);
    if (!this.described) {
      this.described = new Map();
      columnsOf.set(wire, this.described);
    }
    this.columns = this.described.get(name);
    if (!this.columns) wire.describe({ type: 'P' });
    wire.execute();
    wire.sync();
    return null;
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
    this.found.push(row);
  }

  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}

  /** The statement is committed only now. */
  handleReadyForQuery(): void {
    this.callback(this.failed ?? null, this.found);
  }

  handleError(error: Error): void {
    this.callback(error, []);
  }
}

const asText = (value: unknown) => (value === null || value === undefined ? null : String(value));
