import { createServer, type IncomingMessage } from 'node:http';
import { parseArgs } from 'node:util';
import { BoundedMap } from '../bounded-map.ts';
import { createClient } from '../client.ts';
import { type Verify, verifierOf } from '../dispatcher/channels/verify.ts';
import { httpUrl, listen } from '../platform/listen.ts';
import { handleSignals } from '../platform/signals.ts';
import { parseConfig } from './config.ts';
import { withDevelopmentSecrets } from './development-secrets.ts';
import { readDotenv } from './dotenv.ts';
import { signToken } from './sign-token.ts';
import { wholeNumber } from './whole-number.ts';

const USAGE = `usage: npm run receiver -- [--port 9999] [--status 500] [--count 1] [--secret whsec_...]
  --port    the port on 127.0.0.1; 0 selects a free one
  --status  the status of all responses; by default 204 for a verified webhook and 401 for any other
  --count   exit after this number of verified webhooks, not counting duplicates
  --secret  (or WEBHOOK_SECRET) verify with this secret; without it, the receiver registers itself with the local
            development service until it stops`;

const MAX_BODY_BYTES = 1024 * 1024;
/** The maximum number of ids that are remembered to detect duplicates. The oldest is forgotten first. */
const MAX_IDS = 10_000;
/** Time limits for registering the receiver, and for removing it. */
const REGISTER_MS = 10_000;
const REMOVE_MS = 2000;
/** Marks the endpoints that receivers registered. */
const DESCRIPTION = 'npm run receiver';

const say = (line: string) => void process.stdout.write(`${line}\n`);

/** Receives webhooks until a signal, or until `--count` of them have arrived. */
async function main(): Promise<void> {
  readDotenv();
  const signals = handleSignals();
  const options = readOptions();
  const received = receiver(options);
  if (options.secret) received.verifyWith(options.secret);
  const url = `${await listen(received.server, '127.0.0.1', options.port)}/`;
  const registration = options.secret ? undefined : await register(url);
  if (registration) received.verifyWith(registration.secret);
  say(`Receiving webhooks on ${url}${registration ? ', registered for all events' : ''}`);

  const signaled = new Promise((first) => signals.setHandlers({ first, second: () => process.exit(1) }));
  await Promise.race([signaled, received.enough]);
  // Let the response to the last webhook complete.
  received.server.close();
  await registration?.remove();
  received.server.closeAllConnections();
}

function readOptions() {
  const text = { type: 'string' } as const;
  try {
    const { values } = parseArgs({ options: { port: text, status: text, count: text, secret: text } });
    return {
      port: wholeNumber('port', values.port ?? '9999', 0, 65_535),
      status: values.status === undefined ? undefined : wholeNumber('status', values.status, 200, 599),
      count: values.count === undefined ? undefined : wholeNumber('count', values.count, 1, 1_000_000_000),
      secret: values.secret ?? process.env.WEBHOOK_SECRET,
    };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${USAGE}`);
  }
}

/** Prints a line for each webhook. Responds 503 until it has a secret. `enough` resolves after `count` webhooks. */
function receiver({ status, count }: { status: number | undefined; count: number | undefined }) {
  let verify: Verify | undefined;
  const ids = new BoundedMap<string, true>(MAX_IDS);
  let left = count ?? Number.POSITIVE_INFINITY;
  let end = () => {};
  const enough = new Promise<void>((resolve) => {
    end = resolve;
  });

  const server = createServer(async (request, response) => {
    const answer = (status: number, text = '') => void response.writeHead(status).end(text);
    if (!verify) return answer(503, 'The receiver has no secret yet.\n');
    if (request.method === 'GET') return answer(200, 'Ready for webhooks.\n');
    if (request.method !== 'POST') return answer(405);
    const body = await readBody(request);
    if (!body) return void response.writeHead(413, { connection: 'close' }).end();
    const id = shown(request.headers['webhook-id']);
    const failure = verify(body, request.headers as Record<string, string>);
    const isNew = !failure && !ids.has(id);
    if (isNew) ids.set(id, true);
    const verdict = failure ? `NOT VERIFIED: ${failure}` : `verified, ${isNew ? 'new' : 'a repeat'}`;
    say(`${new Date().toISOString()}  ${typeOf(body)}  ${id}  ${verdict}`);
    answer(status ?? (failure ? 401 : 204));
    if (isNew && --left === 0) end();
  });

  return {
    server,
    enough,
    /** Throws if it is not a webhook secret. */
    verifyWith: (secret: string) => {
      try {
        verify = verifierOf(secret);
      } catch {
        throw new Error('the secret must be whsec_ and base64, as returned when the endpoint was created');
      }
    },
  };
}

/** Returns undefined if the body is too large or incomplete. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    // Keeps the connection, so that the sender gets the 413.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) return undefined;
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch {
    return undefined;
  }
}

function typeOf(body: Buffer): string {
  try {
    return shown(JSON.parse(body.toString()).type);
  } catch {
    return '?';
  }
}

/** Returns text that is safe to print on a terminal, or ? for any other. */
function shown(text: unknown): string {
  return typeof text === 'string' && /^[\w.:-]{1,255}$/.test(text) ? text : '?';
}

/** Subscribes `url` to all events of the local development service. Throws an error that says what to do instead. */
async function register(url: string): Promise<{ secret: string; remove(): Promise<void> }> {
  const { host, port, jwt } = parseConfig(withDevelopmentSecrets(process.env));
  const api = httpUrl(host, port);
  const token = () => signToken(jwt, 'receiver', 'webhooks:read webhooks:write');
  const { webhookEndpoints } = createClient(api, { token });
  const signal = AbortSignal.timeout(REGISTER_MS);
  try {
    if (!jwt.secret) throw new Error('JWT_SECRET is not set');
    // A receiver that was killed is still registered.
    for await (const earlier of webhookEndpoints.list({}, { signal })) {
      if (earlier.url !== url || earlier.description !== DESCRIPTION) continue;
      await webhookEndpoints.remove(earlier.id, { signal });
    }
    const input = { url, events: ['*'], description: DESCRIPTION };
    const { id, secret } = await webhookEndpoints.create(input, { signal });
    const remove = () => webhookEndpoints.remove(id, { signal: AbortSignal.timeout(REMOVE_MS) });
    return {
      secret,
      remove: () => remove().catch(() => say('The service does not respond: the receiver is still registered.')),
    };
  } catch (error) {
    throw new Error(`Cannot register at ${api}: ${reasonOf(error)}. Is npm start running?
Or register it manually, and pass the secret in the response as --secret:

curl ${api}/api/v1/webhook-endpoints \\
  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '${JSON.stringify({ url, events: ['*'] })}'
`);
  }
}

/** The reason of a failed fetch is in its cause. */
const reasonOf = (error: unknown) => {
  const { message, cause } = error as Error;
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? message;
};

try {
  await main();
  process.exit();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
