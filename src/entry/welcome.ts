import type { Config } from './config.ts';
import { signToken } from './sign-token.ts';

/**
 * In development, prints the service's URL, the console's sign-in link, and a request that works as pasted, with a
 * token of these scopes. On a terminal, a line that is too long for it is folded, because a shell reads a line that the
 * terminal broke as two.
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

/** Breaks a long line so that a shell reads it as one: a trailing backslash continues it, even in double quotes. */
const folded = (word: string) => word.replace(/.{77}(?=.)/g, '$&\\\n');

/** Replaces a wildcard address in a URL with one that a browser opens, and for which it keeps a session. */
const openable = (url: string) => url.replace(/^http:\/\/(?:0\.0\.0\.0|\[::\])(?=:)/, 'http://127.0.0.1');
