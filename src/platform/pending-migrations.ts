import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { CONNECT_MS, MIGRATIONS } from './migrate.ts';

export type Migration = { file: string; destroys: string[] };

const COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\//g;
/** Statements that delete data, or what the running version still uses. */
const DESTRUCTIVE = [
  /\bdrop\s+(table|column|schema|database|view|materialized\s+view|type|function|sequence)\b/i,
  /\btruncate\b/i,
  /\bdelete\s+from\b/i,
  /\balter\s+type\b/i,
  /\balter\s+(column\s+)?\S+\s+(set\s+data\s+)?type\b/i,
  /\brename\s+(column|to)\b/i,
];

/** Returns all migrations in order, each with its destructive statements. */
export function allMigrations(directory = MIGRATIONS): (Migration & { when: number })[] {
  const journal = JSON.parse(readFileSync(join(directory, 'meta/_journal.json'), 'utf8'));
  return journal.entries.map(({ tag, when }: { tag: string; when: number }) => {
    const file = `${tag}.sql`;
    return { file, when, destroys: destructiveStatements(readFileSync(join(directory, file), 'utf8')) };
  });
}

/** Returns the statements that lose data. Skips function bodies, which run later. */
export function destructiveStatements(sql: string): string[] {
  const statements = sql
    .replace(COMMENT, '')
    .replace(/\$(\w*)\$[\s\S]*?\$\1\$/g, "''")
    .split(';');
  return statements
    .map((statement) => statement.replace(/\s+/g, ' ').trim())
    .filter((statement) => DESTRUCTIVE.some((pattern) => pattern.test(statement)));
}

/** Returns the migrations that the database at `url` lacks. If it lacks all, none of them counts as destructive. */
export async function pendingMigrations(url: string, directory = MIGRATIONS): Promise<Migration[]> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'keelson-deploy',
    connectionTimeoutMillis: CONNECT_MS,
  });
  await client.connect();
  try {
    const { rows } = await client.query(`select to_regclass('drizzle.__drizzle_migrations') is not null as known`);
    if (!rows[0].known) return allMigrations(directory).map(({ file }) => ({ file, destroys: [] }));
    const applied = await client.query('select created_at::float8 as time from drizzle.__drizzle_migrations');
    const times = new Set(applied.rows.map(({ time }) => time));
    const pending = allMigrations(directory).filter(({ when }) => !times.has(when));
    return pending.map(({ file, destroys }) => ({ file, destroys: times.size === 0 ? [] : destroys }));
  } finally {
    await client.end();
  }
}
