// What endpoints cost each other, compared with what was promised, as Markdown.
import { markdownTable } from './markdown.ts';

/** A figure, and the bounds promised for it, if any. */
export type Promised = { beside: string; figure: string; value: number; atMost?: number; atLeast?: number };
export type IsolationData = Record<string, Promised[]>;

/** Whether a figure keeps its bounds. */
export function holds({ value, atMost = Number.POSITIVE_INFINITY, atLeast = Number.NEGATIVE_INFINITY }: Promised) {
  return value <= atMost && value >= atLeast;
}

export function isolationTable(data: IsolationData): string {
  const rows = Object.values(data).flatMap((figures) =>
    figures.map((row) => [row.beside, row.figure, row.value, boundOf(row)]),
  );
  return markdownTable(['beside', 'figure', 'measured', 'promised'], rows);
}

function boundOf(row: Promised): string {
  const { atMost, atLeast } = row;
  const bound = atMost !== undefined ? `≤ ${atMost}` : atLeast !== undefined ? `≥ ${atLeast}` : '–';
  return holds(row) ? bound : `${bound}, missed`;
}
