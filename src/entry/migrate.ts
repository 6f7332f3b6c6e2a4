import { toDbError } from '../db.ts';
import { openPglite } from '../platform/db-pglite.ts';
import { migratePostgres } from '../platform/migrate.ts';
import { ConfigError, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';

try {
  const { databaseUrl } = parseConfig(withDevelopmentSecrets(process.env));
  if (databaseUrl.startsWith('pglite:')) await (await openPglite(databaseUrl.slice('pglite:'.length))).close();
  else await migratePostgres(databaseUrl);
  process.stdout.write('The database schema is current.\n');
} catch (error) {
  const lines = error instanceof ConfigError ? error.problems : [toDbError(error).message];
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = 1;
}
