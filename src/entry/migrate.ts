import { toDbError } from '../db.ts';
import { ConfigError, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';

try {
  const { databaseUrl } = parseConfig(withDevelopmentSecrets(process.env));
  if (databaseUrl.startsWith('pglite:')) {
    const { openPglite } = await import('../platform/db-pglite.ts');
    await (await openPglite(databaseUrl.slice('pglite:'.length))).close();
  } else {
    const { migratePostgres } = await import('../platform/migrate.ts');
    await migratePostgres(databaseUrl);
  }
  process.stdout.write('The database schema is current.\n');
} catch (error) {
  const lines = error instanceof ConfigError ? error.problems : [toDbError(error).message];
  process.stderr.write(`${lines.join('\n')}\n`);
  process.exitCode = 1;
}
