import type { Config } from './config.ts';
import { signToken } from './sign-token.ts';

/** In development, prints the service's URL and a request that works as pasted, with a token of these scopes. */
export async function printWelcome(config: Config, url: string, scopes: string): Promise<void> {
  const lines = ['', `Keelson is listening on ${url}`, `Documentation: ${url}/docs`];
  if (config.jwt.secret) {
    const token = await signToken(config.jwt, 'developer', scopes);
    // Another user with every start, and pasted again the same answer: it never meets an email that is taken.
    const name = `ada-${crypto.randomUUID().slice(0, 8)}`;
    lines.push(
      'Create a user:',
      '',
      `curl -i ${url}/api/v1/users -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' -H 'Idempotency-Key: ${name}' -d '{"email":"${name}@example.com","name":"Ada Lovelace"}'`,
    );
  }
  process.stdout.write(`${lines.join('\n')}\n\n`);
}
