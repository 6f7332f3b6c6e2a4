/** @jsxImportSource hono/jsx */
import type * as z from 'zod/mini';
import { AppError } from '../errors.ts';
import { FILTERS } from '../notifications/filters.ts';
import { CHANNELS, STATUSES } from '../notifications/schema.ts';

/** The filters of notifications, as in a URL or a form. Empty filters are left out. */
export type Given = Record<string, string>;

const NAMES: string[] = ['status', ...FILTERS];

export function givenFilters(from: Record<string, string | undefined>): Given {
  const given = (name: string) => (name === 'text' ? from[name] : from[name]?.trim()) ?? '';
  const entries = NAMES.map((name) => [name, given(name)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== ''));
}

/** The same, but refuses any other name: a bulk action must not match more than its URL says. */
export function onlyFilters(from: Record<string, string | undefined>): Given {
  if (Object.keys(from).every((name) => NAMES.includes(name))) return givenFilters(from);
  throw new AppError('validation-failed', 'One of the filters does not exist. Nothing was changed.');
}

/** The time of a datetime-local field, which has no time zone and is taken as UTC. */
function instantOf(value: string): string {
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d$/.test(value)) return `${value}:00Z`;
  return /Z$|[+-]\d\d:\d\d$/.test(value) ? value : `${value}Z`;
}

/** A time as a datetime-local field holds it, in UTC. */
function localOf(value: string): string {
  const time = new Date(instantOf(value));
  return Number.isNaN(time.getTime()) ? value : time.toISOString().slice(0, 19);
}

/** The filters as the API takes them. */
export function filtersOf(given: Given): Given {
  const isTime = (name: string) => name.startsWith('created');
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, isTime(name) ? instantOf(value) : value]),
  );
}

/** The filters, or what is wrong with each of them. */
export function parsedFilters<S extends z.ZodMiniType>(schema: S, given: Given) {
  const parsed = schema.safeParse(filtersOf(given));
  if (parsed.success) return { filters: parsed.data, problems: undefined };
  return {
    filters: undefined,
    problems: Object.fromEntries(parsed.error.issues.map(({ path, message }) => [String(path[0]), message])),
  };
}

type FormProps = { given: Given; problems: Record<string, string> };

/** The form of the filters, with the problems of each. */
export function FilterForm({ given, problems }: FormProps) {
  const field = { given, problems };
  return (
    <search>
      <form method="get" class="filters">
        <Choice {...field} name="status" label="Status" options={STATUSES} />
        <Text {...field} name="type" label="Type" placeholder="invoice.paid" />
        <Choice {...field} name="channel" label="Channel" options={CHANNELS} />
        <Text {...field} name="text" label="Text in the payload, as sent" placeholder="INV-7" />
        <Text {...field} name="createdAfter" label="From (UTC)" type="datetime-local" />
        <Text {...field} name="createdBefore" label="To (UTC)" type="datetime-local" />
        <Text {...field} name="endpointId" label="Endpoint id" />
        <Text {...field} name="userId" label="User id" />
        <div class="buttons">
          <button type="submit" class="primary">
            Filter
          </button>
          <a href="/console/notifications">Clear</a>
        </div>
      </form>
    </search>
  );
}

type FieldProps = FormProps & { name: string; label: string };

function Text({ given, problems, name, label, type = 'text', placeholder }: FieldProps & Record<string, unknown>) {
  const problem = problems[name];
  const isTime = type === 'datetime-local';
  const value = given[name];
  return (
    <div>
      <label for={name}>{label}</label>
      <input
        id={name}
        name={name}
        type={type as string}
        value={isTime && value !== undefined ? localOf(value) : value}
        step={isTime ? 1 : undefined}
        placeholder={placeholder as string | undefined}
        autocomplete="off"
        spellcheck={false}
        aria-invalid={problem ? 'true' : undefined}
        aria-describedby={problem && `${name}-problem`}
      />
      <Problem name={name} problem={problem} />
    </div>
  );
}

function Choice({ given, problems, name, label, options }: FieldProps & { options: readonly string[] }) {
  const problem = problems[name];
  return (
    <div>
      <label for={name}>{label}</label>
      <select
        id={name}
        name={name}
        aria-invalid={problem ? 'true' : undefined}
        aria-describedby={problem && `${name}-problem`}
      >
        <option value="">Any</option>
        {options.map((option) => (
          <option value={option} selected={given[name] === option}>
            {option}
          </option>
        ))}
      </select>
      <Problem name={name} problem={problem} />
    </div>
  );
}

function Problem({ name, problem }: { name: string; problem: string | undefined }) {
  if (!problem) return null;
  return (
    <p class="problem" id={`${name}-problem`}>
      {problem}
    </p>
  );
}
