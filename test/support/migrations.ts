import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MIGRATIONS } from '../../src/platform/migrate.ts';
import { connectTo, createDatabase } from './databases.ts';
import { query } from './postgres-server.ts';

/** Creates a database in the state before migration `name`; `migrate` runs that migration. */
export async function before(name: string, as?: string) {
  const database = await createDatabase(as);
  await query(database.name, 'drop schema public cascade; create schema public');
  const { text, close } = await connectTo(database.name);
  const files = globSync('*.sql', { cwd: MIGRATIONS }).sort();
  const run = (file: string) => text(readFileSync(join(MIGRATIONS, file), 'utf8'));
  const at = files.findIndex((file) => file.endsWith(`_${name}.sql`));
  for (const file of files.slice(0, at)) await run(file);
  return {
    text,
    name: database.name,
    migrate: () => run(files[at] as string),
    close: async () => {
      await close();
      await database.drop();
    },
  };
}
