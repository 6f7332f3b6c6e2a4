import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { createDatabase } from '../support/databases.ts';
import { malformed, type Reaction, randomlyMalformed, reactionTo } from '../support/malformed.ts';
import { randomFrom } from '../support/random.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, startService, untilReady } from '../support/service.ts';
import { token } from '../support/tokens.ts';

const AUTHORIZATION = `Authorization: Bearer ${token()}`;

/** Where a runtime's own parser behaves differently: README.md lists these exceptions. */
const EXCEPTIONS: Record<keyof typeof COMMANDS, Record<string, Reaction>> = {
  node: {},
  deno: {
    'a chunk of no size': 'closed',
    'a chunk of a size beyond all numbers': 'closed',
    'a chunk without an end': 'closed',
    'HTTP/2 without asking': 'closed',
  },
  bun: {
    'an unknown method': 'closed',
    'a method in small letters': 'closed',
    TRACK: 'closed',
    'a line that ends in LF alone': 505,
    'NUL in the target': 505,
    'HTTP/0.9': 505,
    'HTTP/1.2': 505,
    'HTTP/9.9': 505,
  },
};

for (const runtime of Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]) {
  describe(`requests that are malformed, on ${runtime}`, () => {
    let database: Awaited<ReturnType<typeof createDatabase>>;
    let service: Service;

    before(async () => {
      database = await createDatabase();
      const limits = { RATE_LIMIT_MAX: '1000000', READ_TIMEOUT_MS: '500', REQUEST_TIMEOUT_MS: '10000' };
      service = await startService({ DATABASE_URL: database.url, ...limits }, COMMANDS[runtime]);
    });
    after(async () => {
      await service.stop();
      await database.drop();
    });

    function open(): Socket {
      const { hostname, port } = new URL(service.url);
      return connect(Number(port), hostname);
    }

    /** The service is alive, and reports no failure of its own. */
    async function assertUnharmed(): Promise<void> {
      assert.equal((await fetch(`${service.url}/health`)).status, 200);
      const failures = service.lines.filter(
        ({ level, msg, status }) => level === 'error' || (msg === 'request' && Number(status) >= 500 && status !== 503),
      );
      assert.deepEqual(failures, []);
    }

    test('each is refused or answered, none is a failure of the service', async () => {
      const unexpected: Record<string, Reaction> = {};
      for (const { what, text, status } of malformed(AUTHORIZATION)) {
        const reaction = await reactionTo(service.url, text, { ends: what === 'HTTP/2 without asking' });
        const exception = EXCEPTIONS[runtime][what];
        const isAnswered = typeof reaction === 'number' && reaction < 500 && reaction === (status ?? reaction);
        // The app may have responded before a broken chunk closes the connection.
        const isFine =
          reaction === exception || (isAnswered && (exception === undefined || what.startsWith('a chunk')));
        if (!isFine) unexpected[what] = reaction;
      }
      assert.deepEqual(unexpected, {});
      await assertUnharmed();
    });

    test('what can be read in two ways is the last of its connection: what follows is no request', async () => {
      const health = 'GET /health HTTP/1.1\r\nHost: x\r\n';
      for (const ambiguous of [
        'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
        // Deno keeps a connection open, whatever the response says.
        ...(runtime === 'deno' ? [] : [`${health}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`]),
      ]) {
        const socket = open();
        socket.write(`${ambiguous}${health}Connection: close\r\n\r\n`);
        const answers = await text(socket);
        assert.deepEqual(answers.match(/(?<=HTTP\/1\.1 )\d+/g), ['400'], ambiguous);
      }
    });

    test('a request that the app never gets is answered with the headers that every response has', async () => {
      const usual = await fetch(`${service.url}/health`);
      const names = ['ratelimit-policy', 'content-security-policy', 'strict-transport-security', 'referrer-policy'];
      const hosts = runtime === 'node' ? 'Host: a\r\nHost: b' : 'Host: a, b';
      const texts = [`GET /health HTTP/1.1\r\n${hosts}\r\nX-Request-Id: mine\r\n\r\n`];
      // Node's own parser refuses this one before it has read an id.
      if (runtime === 'node') texts.push('GET /health HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n');
      for (const said of texts) {
        const socket = open();
        socket.end(said);
        const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n');
        const headers = new Map(head.split('\r\n').map((line) => line.toLowerCase().split(': ') as [string, string]));
        for (const name of names) assert.equal(headers.get(name), usual.headers.get(name)?.toLowerCase(), name);
        const { requestId } = JSON.parse(body) as { requestId: string };
        assert.equal(headers.get('x-request-id'), requestId);
        if (said.includes('mine')) assert.equal(requestId, 'mine');
      }
    });

    test('a load balancer asks without a Host, in HTTP/1.0', async () => {
      await untilReady(service.url);
      for (const path of ['/health', '/ready']) {
        assert.equal(await reactionTo(service.url, `GET ${path} HTTP/1.0\r\n\r\n`), 200, path);
      }
    });

    // Runtimes other than Node wait for the rest of half a request: there, the client half-closes.
    const ends = runtime !== 'node';
    test('a thousand at random, determined by their seed, do no harm', async () => {
      const random = randomFrom(20_261_126);
      const texts = Array.from({ length: 1000 }, () => randomlyMalformed(random, AUTHORIZATION));
      const next = texts.values();
      const failures: string[] = [];
      const send = async () => {
        for (const text of next) {
          const reaction = await reactionTo(service.url, text, { ends });
          const isHarm = typeof reaction === 'number' && reaction >= 500 && reaction !== 503;
          if (isHarm && !(runtime === 'bun' && reaction === 505)) failures.push(`${reaction}: ${JSON.stringify(text)}`);
        }
      };
      await Promise.all(Array.from({ length: 32 }, send));
      assert.deepEqual(failures, []);
      await assertUnharmed();
    });
  });
}
