import { createLog } from '../platform/log.ts';
import { createSecretBox } from '../platform/secret-box.ts';
import { type Progress, resealSecrets, STATEMENT_MS } from '../webhook-endpoints/reseal.ts';
import { ConfigError, parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { openDatabase } from './open-database.ts';

/** Milliseconds between lines of progress if the output is not a terminal. */
const TELL_EVERY_MS = 5000;

const say = (text: string) => void process.stdout.write(text);
const complain = (text: string) => void process.stderr.write(text);
const number = (n: number) => n.toLocaleString('en');

async function reseal(): Promise<void> {
  // A generated key would seal secrets that no other process can open.
  const env = { ...withDevelopmentSecrets(process.env), SECRETS_KEY: process.env.SECRETS_KEY };
  const config = { ...parseConfig(env), requestTimeoutMs: STATEMENT_MS };
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const { db, close } = await openDatabase(config, secrets, createLog('error', complain));
  try {
    const tell = teller();
    let last: Progress | undefined;
    for await (const progress of resealSecrets(db, secrets)) {
      tell(progress);
      last = progress;
    }
    if (last) conclude(last);
  } finally {
    await close();
  }
}

/** Reports progress: on a terminal by updating one line, else by a line now and then. */
function teller(): (progress: Progress) => void {
  const began = performance.now();
  let told = began;
  return (progress) => {
    const now = performance.now();
    if (process.stdout.isTTY) say(`\r\x1b[K${lineOf(progress, now - began)}`);
    else if (now - told >= TELL_EVERY_MS) {
      say(`${lineOf(progress, now - began)}\n`);
      told = now;
    }
  };
}

function lineOf({ looked, total }: Progress, ms: number): string {
  const perSecond = looked / (ms / 1000);
  const left = looked < total ? Math.ceil((total - looked) / perSecond) : 0;
  return `${number(looked)} of ${number(total)} webhook endpoints, ${number(Math.round(perSecond))}/s, ${left} s left`;
}

function conclude({ looked, resealed, unopened }: Progress): void {
  const before = looked - resealed - unopened.size;
  const counts = [`${number(resealed)} sealed anew`, `${number(before)} with this key before`];
  if (process.stdout.isTTY) say('\n');
  say(`${number(looked)} webhook endpoints: ${counts.join(', ')}, ${number(unopened.size)} not opened.\n`);
  if (resealed > 0) say('Keep SECRETS_KEYS_OLD for 24 hours, as long as answers are kept for repeats.\n');
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
  const lines = error instanceof ConfigError ? error.problems : [(error as Error).message];
  complain(`${lines.join('\n')}\n`);
  process.exitCode = 1;
}
