/** @jsxImportSource hono/jsx */
import type { Child, PropsWithChildren } from 'hono/jsx';
import type { Ctx } from '../http/context.ts';
import { pretty } from './payload.ts';

/** A status, in its colour and in words. */
export const Badge = ({ status }: { status: string }) => <span class={`badge ${status}`}>{status}</span>;

/** A time to the second, in UTC; to the millisecond where `exact`. */
export function When({ at, exact = false }: { at: string | null; exact?: boolean }) {
  if (at === null) return <span class="quiet">–</span>;
  const shown = `${at.slice(0, 10)} ${at.slice(11, exact ? 23 : 19)} UTC`;
  return <time datetime={at}>{shown}</time>;
}

/** How long ago, or how far ahead, `at` is. */
export function Ago({ at, now }: { at: string; now: Date }) {
  const s = (now.getTime() - Date.parse(at)) / 1000;
  const text = Math.abs(s) < 1 ? 'now' : s < 0 ? `in ${duration(-s * 1000)}` : `${duration(s * 1000)} ago`;
  return (
    <time datetime={at} title={`${at.slice(0, 19).replace('T', ' ')} UTC`}>
      {text}
    </time>
  );
}

const UNITS: [ms: number, unit: string][] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
];

/** Milliseconds in the largest unit that fits. */
export function duration(ms: number): string {
  for (const [i, [size, unit]] of UNITS.entries()) {
    const [below] = UNITS[i + 1] ?? [1];
    // Rounded up to the next unit, it is given in that unit: not 60 s, but 1 min.
    if (Math.round(ms / below) * below >= size) return `${number(ms / size)} ${unit}`;
  }
  return `${Math.round(ms)} ms`;
}

/** With thousands separators; below ten, with one decimal. */
export function number(value: number): string {
  const rounded = Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value);
  return rounded.toLocaleString('en');
}

/** JSON that was sent, collapsed. */
export const Payload = ({ text, open = false }: { text: string; open?: boolean }) => (
  <details open={open}>
    <summary>{new TextEncoder().encode(text).length} bytes</summary>
    <pre>
      <code>{/^\s*[[{]/.test(text) ? pretty(text) : text}</code>
    </pre>
  </details>
);

/** Says that there is nothing, and why. */
export const Empty = ({ children }: PropsWithChildren) => <p class="empty">{children}</p>;

/** A message about what was just done. */
export const Notice = ({ kind = 'good', children }: PropsWithChildren<{ kind?: 'good' | 'neutral' }>) => (
  <p class={`notice ${kind}`} role="status">
    {children}
  </p>
);

/** Why nothing was changed. */
export const UNCHANGED = {
  before: 'Already done, or changed in the meantime. Nothing was changed.',
  'not-canceled': 'Nothing was changed: it was being delivered, or was already finished.',
};

/** Says, after `unlessChanged`, why nothing was changed. */
export function Unchanged({ c }: { c: Ctx }) {
  const text = textOf(UNCHANGED, c.req.query('done'));
  return text && <Notice kind="neutral">{text}</Notice>;
}

/** The text for a name in a query, if it has one. */
export const textOf = (texts: Record<string, string>, name = ''): string | undefined =>
  Object.hasOwn(texts, name) ? texts[name] : undefined;

/** Names and values. Those without a value are left out. */
export function Facts({ of }: { of: Record<string, Child> }) {
  return (
    <dl class="facts">
      {Object.entries(of)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** `kind`: `number` aligns right, `wide` is hidden on a phone, `long` breaks anywhere. */
type Column<Row> = [title: Child, cell: (row: Row) => Child, kind?: string];

/** Rows as a table. Columns that are undefined are left out. */
export function Table<Row>({
  label,
  rows,
  columns,
}: {
  label: string;
  rows: Row[];
  columns: (Column<Row> | undefined)[];
}) {
  const shown = columns.filter((column) => column !== undefined);
  return (
    <table aria-label={label}>
      <thead>
        <tr>
          {shown.map(([title, , kind]) => (
            <th scope="col" class={kind}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr>
            {shown.map(([, cell, kind]) => (
              <td class={kind}>{cell(row)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

type ActProps = { to: string; fields?: Record<string, string>; ids?: string[]; kind?: 'primary' | 'danger' };

/** A button that sends a form with `fields`, and with each of `ids` as `id`. */
export function Act({ to, fields = {}, ids = [], kind, children }: PropsWithChildren<ActProps>) {
  const sent = [...Object.entries(fields), ...ids.map((id) => ['id', id] as const)];
  return (
    <form method="post" action={to} class="inline">
      {sent.map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      <button type="submit" class={kind}>
        {children}
      </button>
    </form>
  );
}

type NextProps = { cursor: string | null; query?: Record<string, string | undefined> };

/** A link to the next page of a list. */
export function Next({ cursor, query = {} }: NextProps) {
  if (cursor === null) return null;
  return (
    <p>
      <a href={queryOf({ ...query, cursor })} rel="next">
        Next page
      </a>
    </p>
  );
}

/** `?…` of the values that are set. */
export function queryOf(query: Record<string, string | undefined>): string {
  const set = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return `?${new URLSearchParams(set)}`;
}

/** `alarm` is replaced only if its text has changed: a screen reader reads it out each time. */
type LiveProps = { c: Ctx; everyS: number; alarm?: Child };

/** Whether the script sent the request, for the live part of the page only. */
export const isRefresh = (c: Ctx): boolean => c.req.header('X-Refresh') !== undefined;

/** A part of the page that the script refreshes every few seconds, unless paused; without script, a link. */
export function Live({ c, everyS, alarm, children }: PropsWithChildren<LiveProps>) {
  const { pathname, search } = new URL(c.req.url);
  return (
    <>
      <p class="live">
        <a href={pathname + search}>Reload</a>
        <button type="button" hidden aria-pressed="false" data-hold>
          Pause refresh
        </button>
        <span role="status" data-trouble />
      </p>
      {alarm && (
        <div role="alert" id="alarm">
          {alarm}
        </div>
      )}
      <div id="live" data-refresh-s={everyS}>
        {children}
      </div>
    </>
  );
}
