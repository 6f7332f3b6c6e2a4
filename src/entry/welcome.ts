import type { Config } from './config.ts';
import { signToken } from './sign-token.ts';

/**
 * In development, prints the service's URL, the console's sign-in link, and a request that works as pasted, with a token of
 * these scopes. On a terminal no line is longer than that, as a shell takes a line that the terminal broke for two.
 */
export async function printWelcome(config: Config, bound: string, scopes: string, signIn?: string): Promise<void> {
  const url = openable(bound);
  const lines = ['', `Keelson is listening on ${url}`, `Documentation: ${url}/docs`];
  if (signIn) lines.push(`Console: ${openable(signIn)}`);
  if (config.jwt.secret) {
    const authorization = `  -H "Authorization: Bearer ${await signToken(config.jwt, 'developer', scopes)}" \\`;
    // Another user with every start, and pasted again the same answer: it never meets an email that is taken.
    const name = `ada-${crypto.randomUUID().slice(0, 8)}`;
    lines.push(
      'Create a user:',
      '',
      `curl -i ${url}/api/v1/users \\`,
      process.stdout.isTTY ? folded(authorization) : authorization,
      `  -H 'Content-Type: application/json' -H 'Idempotency-Key: ${name}' \\`,
      `  -d '{"email":"${name}@example.com","name":"Ada Lovelace"}'`,
    );
  }
  process.stdout.write(`${lines.join('\n')}\n\n`);
}

/** Breaks a long line, so that a shell reads it as one: in double quotes, too, a backslash at its end continues it. */
const folded = (word: string) => word.replace(/.{77}(?=.)/g, '$&\\\n');

/** A URL of every address of this machine, as one that a browser opens, and in which it keeps a session. */
const openable = (url: string) => url.replace(/^http:\/\/(?:0\.0\.0\.0|\[::\])(?=:)/, 'http://127.0.0.1');
