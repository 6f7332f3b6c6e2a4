import { parseArgs } from 'node:util';
import { parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { signToken } from './sign-token.ts';

const USAGE = 'usage: npm run token -- --sub alice --scope "webhooks:read webhooks:write"';

try {
  const { values } = parseArgs({ options: { sub: { type: 'string' }, scope: { type: 'string', default: '' } } });
  if (!values.sub) throw new Error(USAGE);
  readDotenv();
  const config = parseConfig(withDevelopmentSecrets(process.env));
  if (!config.jwt.secret) throw new Error('JWT_SECRET is not set: get tokens from the issuer of JWKS_URL');
  process.stdout.write(`${await signToken(config.jwt, values.sub, values.scope)}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
