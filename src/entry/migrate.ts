import { toDbError } from '../db.ts';
import { ConfigError, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { progressOf } from './progress.ts';

const { report, end } = progressOf('statements');
try {
  readDotenv();
  const { databaseUrl, warnings } = parseConfig(withDevelopmentSecrets(process.env));
  for (const warning of warnings) process.stderr.write(`${warning}\n`);
  if (databaseUrl.startsWith('pglite:')) {
    const { openPglite } = await import('../platform/db-pglite.ts');
    await (await openPglite(databaseUrl.slice('pglite:'.length), report)).close();
  } else {
    const { migratePostgres } = await import('../platform/migrate.ts');
    await migratePostgres(databaseUrl, undefined, report);
  }
  end();
  process.stdout.write('The database schema is current.\n');
} catch (error) {
  end();
  const { message } = error instanceof ConfigError ? error : toDbError(error);
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
}
