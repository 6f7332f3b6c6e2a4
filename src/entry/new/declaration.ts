// The declaration of a resource on the command line: `person name:text team:team.id?`.

type Kind = 'text' | 'integer' | 'boolean' | 'timestamp' | 'uuid' | 'json' | 'enum' | 'reference';

export type Field = {
  /** The name in the API, in camelCase; `ownerId` for a reference `owner`. */
  name: string;
  kind: Kind;
  optional: boolean;
  unique: boolean;
  /** For an enum. */
  values: string[];
  /** For a reference. */
  parent?: Parent;
};

/** What a reference needs to know of an existing resource. */
export type Parent = { name: Names; table: string };

/** The forms that a resource's name takes, such as `sales-team`. */
export type Names = {
  /** `salesTeam`, `salesTeams` */
  camel: string;
  camels: string;
  /** `SalesTeam`, `SalesTeams` */
  pascal: string;
  pascals: string;
  /** `sales-teams`: the folder and the path. */
  path: string;
  /** `sales-team`: the first part of its event types. */
  event: string;
  /** `sales_teams` */
  table: string;
  /** `sales team` */
  words: string;
};

export type Declaration = { names: Names; fields: Field[] };

/** Describes what is wrong with the command line to the person who typed it. */
export class DeclarationError extends Error {}

/** No digits: a word with digits in a path may be a secret, so the log redacts it. */
const NAME = /^[a-z]+(?:-[a-z]+)*$/;
const FIELD = /^[a-z][a-zA-Z0-9]*$/;
const VALUE = /^[a-z][a-z0-9_-]*$/;
const KINDS: readonly string[] = ['text', 'integer', 'boolean', 'timestamp', 'uuid', 'json', 'enum'];

/** Members that every resource has. */
const OWN = ['id', 'version', 'createdAt', 'updatedAt'];
const wordsOf = (text: string) => new Set(text.split(/\s+/));
/** Words that cannot name a column in Postgres. */
const SQL_WORDS =
  wordsOf(`all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create current
  default deferrable desc distinct do else end except false fetch for foreign from grant group having in initially
  intersect into lateral leading limit localtime localtimestamp not null offset on only or order placing primary
  references returning select session some symmetric table then to trailing true union unique user using variadic when
  where window with authorization binary collation concurrently cross freeze full ilike inner is isnull join left like
  natural notnull outer overlaps right similar tablesample verbose`);
/** Words that cannot name a variable, or that statements and their files already use. */
const OTHER_WORDS = wordsOf(`
  arguments await break catch class const continue debugger delete enum eval export extends finally function if
  implements import instanceof interface let new package private protected public return static super switch this throw
  versions now own traceparent key keySubject keyRoute keyInput keyHolder keyResponse secret
  try typeof undefined var void while yield lazy sql text view z id json instant integer boolean index uuid`);

/** Names that a resource would shadow in the code around it: locals of its handlers, types, those of the packed client. */
const TAKEN = new Set(
  `c input row change created reservation query store event operation router validate
  record error promise date map set object array string number boolean symbol function request response resource problem
  headers page client item health
  errorCode fieldError apiClient clientOptions callOptions createOptions changeOptions`.split(/\s+/),
);
/** CTEs of the statements that change a resource: a CTE hides a table of the same name. */
const CTES = [
  'reserved',
  'reservation',
  'locked',
  'target',
  'matching',
  'changed',
  'recipients',
  'message',
  'notification',
  'queued',
];

export const namesOf = (name: string, plural = `${name}s`): Names => {
  const camel = camelCase(name);
  const camels = camelCase(plural);
  return {
    camel,
    camels,
    pascal: capitalized(camel),
    pascals: capitalized(camels),
    path: plural,
    event: name,
    table: plural.replaceAll('-', '_'),
    words: name.replaceAll('-', ' '),
  };
};

/** What already exists: `schemas` are ids in the document. */
type Existing = {
  folders: readonly string[];
  tables: readonly string[];
  scopes: readonly string[];
  schemas: readonly string[];
  find(resource: string): Parent | undefined;
};

/** Parses the command line. Throws DeclarationError with everything that is wrong. */
export function parseDeclaration(
  [name = '', ...fields]: string[],
  plural: string | undefined,
  { folders, tables, scopes, schemas, find }: Existing,
): Declaration {
  const wrong: string[] = [];
  const complain = (what: string) => void wrong.push(what);
  for (const each of [name, plural ?? name]) {
    if (!NAME.test(each))
      complain(`${each || 'the name'} must be lower-case words without digits, joined by hyphens, such as sales-team`);
    else if (each.length > 30) complain(`${each} is longer than 30 characters`);
  }
  const names = namesOf(name, plural);
  // In that case its table, scopes and schemas exist, too.
  if (folders.includes(names.path)) throw new DeclarationError(`${names.path} is there already in src/ or test/`);
  // Its table name is always quoted: SQL keywords are allowed.
  for (const each of new Set([names.camel, names.camels])) {
    if (isTaken(each)) complain(`${each} is a reserved word: choose another name`);
  }
  if (plural === undefined && /(?:[^aeiou]y|s|x|z|ch|sh)$/.test(name)) {
    complain(`${name} needs its plural: --plural ${name.endsWith('y') ? `${name.slice(0, -1)}ies` : `${name}es`}`);
  }
  if ([...tables, ...CTES].includes(names.table)) complain(`${names.table} is the name of a table or a CTE`);
  if (TAKEN.has(names.camel)) complain(`${name} is a name that the code of a resource needs`);
  if (scopes.includes(`${names.path}:read`)) complain(`the scopes of ${names.path} are those of another resource`);
  const clash = [names.pascal, `${names.pascal}Input`, `${names.pascal}Page`].find((id) => schemas.includes(id));
  if (clash) complain(`${clash} is a schema of another resource`);
  if (fields.length === 0) complain('name at least one field, such as name:text');

  const parsed = fields.flatMap((field) => parseField(field, find, complain));
  const seen = new Set<string>(OWN);
  for (const field of parsed) {
    if (seen.has(field.name)) complain(`${field.name} is there already`);
    seen.add(field.name);
    for (const constraint of constraintsOf(names, field)) {
      if (constraint.length > 63) complain(`${field.name} is too long: Postgres would cut ${constraint}`);
    }
  }
  if (wrong.length > 0) throw new DeclarationError(wrong.join('\n'));
  return { names, fields: parsed };
}

function parseField(
  field: string,
  find: (name: string) => Parent | undefined,
  complain: (what: string) => void,
): Field[] {
  const optional = field.endsWith('?');
  const [name = '', type = '', ...rest] = (optional ? field.slice(0, -1) : field).split(':');
  const unique = rest.at(-1) === 'unique';
  const values = (type === 'enum' ? (rest[0] ?? '') : '').split(',').filter((value) => value !== '');
  const known = rest.length - (unique ? 1 : 0) - (type === 'enum' ? 1 : 0);
  const isName = FIELD.test(name) && name.length <= 30;
  if (!isName) complain(`${field}: a field is camelCase, of at most 30 characters, such as startsAt:timestamp`);
  if (isName && isReserved(name) && !type.includes('.')) complain(`${name} is a reserved word: choose another name`);
  if (known !== 0) complain(`${field}: after the type only "unique" can follow, and the values of an enum`);
  if (type === 'enum' && (values.length < 2 || !values.every((value) => VALUE.test(value)))) {
    complain(`${field}: an enum has two or more lower-case values, such as plan:enum:free,pro`);
  }
  if (new Set(values).size < values.length) complain(`${field}: each value of an enum is named once`);
  if (unique && ['boolean', 'json', 'enum'].includes(type)) complain(`${field}: a ${type} cannot be unique`);
  if (type.endsWith('.id')) {
    const parent = find(type.slice(0, -'.id'.length));
    if (parent) return [{ name: `${name}Id`, kind: 'reference', optional, unique, values, parent }];
    complain(`${field}: there is no resource ${type.slice(0, -'.id'.length)} that is created and deleted by requests`);
    return [];
  }
  if (!KINDS.includes(type)) {
    complain(`${field}: a type is one of ${KINDS.join(', ')}, or a reference such as team.id`);
    return [];
  }
  return [{ name, kind: type as Kind, optional, unique, values }];
}

/** The names of a field's constraints, as drizzle-kit gives them. */
function constraintsOf({ table }: Names, { name, unique, parent }: Field): string[] {
  const column = `${table}_${snakeCase(name)}`;
  return [...(unique ? [`${column}_unique`] : []), ...(parent ? [`${column}_${parent.table}_id_fk`] : [])];
}

const isTaken = (name: string) => OTHER_WORDS.has(name) || name in Object.prototype;
const isReserved = (name: string) =>
  isTaken(name) || SQL_WORDS.has(snakeCase(name)) || OTHER_WORDS.has(snakeCase(name));
export const capitalized = (name: string) => name.charAt(0).toUpperCase() + name.slice(1);
export const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const camelCase = (name: string) => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
