import { type Progress, resealSecrets, STATEMENT_MS } from '../outbox/reseal.ts';
import { createLog } from '../platform/log.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { openDatabase } from './open-database.ts';
import { number, progressOf, say } from './progress.ts';

const complain = (text: string) => void process.stderr.write(text);

async function reseal(): Promise<void> {
  readDotenv();
  // A key generated because none was set would seal secrets that nothing else can open.
  const env = { ...withDevelopmentSecrets(process.env), SECRETS_KEY: process.env.SECRETS_KEY };
  const config = { ...parseConfig(env), requestTimeoutMs: STATEMENT_MS };
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const { db, close } = await openDatabase(config, secrets, createLog('error', complain));
  const progress = progressOf('webhook endpoints');
  try {
    let last: Progress | undefined;
    for await (const state of resealSecrets(db, secrets)) {
      progress.report(state.looked, state.total);
      last = state;
    }
    progress.end();
    if (last) conclude(last);
  } finally {
    progress.end();
    await close();
  }
}

function conclude({ looked, resealed, unopened }: Progress): void {
  const before = looked - resealed - unopened.size;
  const counts = [`${number(resealed)} resealed`, `${number(before)} with this key before`];
  say(`${number(looked)} webhook endpoints: ${counts.join(', ')}, ${number(unopened.size)} not opened.\n`);
  if (resealed > 0)
    say('Keep SECRETS_KEYS_OLD for 24 hours, because stored responses can be replayed for that long.\n');
  if (unopened.size === 0) return;
  complain(
    'No key opens a secret of these endpoints: add the one that does to SECRETS_KEYS_OLD, or rotate the secret.\n',
  );
  complain(`${[...unopened].join('\n')}\n`);
  process.exitCode = 1;
}

try {
  await reseal();
} catch (error) {
  complain(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
