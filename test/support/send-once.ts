// Run on any runtime, with a certificate to trust, a name server and URLs: sends to each URL and prints the result.
import { readFileSync } from 'node:fs';
import { setDefaultCACertificates } from 'node:tls';
import { socketSend } from '../../src/platform/send-sockets.ts';

const [certificate, server, ...urls] = process.argv.slice(2) as [string, string, ...string[]];
setDefaultCACertificates([readFileSync(certificate, 'utf8')]);
const options = { allowPrivate: true, timeoutMs: 5000, servers: [server] };
const { send, close } = socketSend(options);
for (const url of urls) {
  const line = await send({ url, headers: {}, body: '{}' }).then(
    ({ status }) => String(status),
    (error) => error.message,
  );
  process.stdout.write(`${line}\n`);
}
await close();
