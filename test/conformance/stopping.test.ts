import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, spawnService, startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';
import { newNotice } from './target.ts';

const SETTINGS = { SHUTDOWN_TIMEOUT_MS: '8000', REQUEST_TIMEOUT_MS: '5000', IDLE_TIMEOUT_MS: '60000' };

for (const [runtime, command] of Object.entries(COMMANDS)) {
  describe(`stopping on ${runtime}`, () => {
    let database: Awaited<ReturnType<typeof createDatabase>>;
    before(async () => {
      database = await createDatabase();
    });
    after(() => database.drop());

    const start = () => startService({ ...SETTINGS, DATABASE_URL: database.url }, command);

    test('what is under way finishes, nothing new begins, silent connections do not hold it up', async (t) => {
      const service = await start();
      t.after(() => service.stop('SIGKILL'));
      const { port } = new URL(service.url);
      const silent = await Connection.open(port);
      t.after(() => silent.socket.destroy());
      const idle = await Connection.open(port);
      await idle.ask('GET /health HTTP/1.1\r\nHost: x\r\n\r\n', /\{"status":"ok"\}/);
      const busy = await Connection.open(port);
      const body = JSON.stringify(newNotice());
      const head = Object.entries({ ...headers(), Host: 'x', 'Content-Length': String(body.length) });
      const lines = head.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      busy.socket.write(`POST /api/v1/notifications HTTP/1.1\r\n${lines}\r\n${body.slice(0, 5)}`);
      await untilUnderWay(service);

      service.process.kill('SIGTERM');
      await service.line(({ msg }) => msg === 'not ready');
      await idle.closed;
      await refused(port);
      await busy.ask(body.slice(5), /"status":"pending"/);
      await busy.closed;
      assert.match(busy.received, /^HTTP\/1\.1 202/);
      assert.match(busy.received, /^connection: close\r$/im);
      // A service held up past SHUTDOWN_TIMEOUT_MS exits with 1.
      assert.equal(await service.exited, 0);
      const steps = ['requests finished, listener closed', 'dispatcher stopped', 'database closed'];
      for (const step of steps)
        assert.ok(
          service.lines.some(({ msg }) => msg === step),
          step,
        );
    });

    test('a second signal ends it at once', async (t) => {
      const service = await start();
      t.after(() => service.stop('SIGKILL'));
      const busy = await Connection.open(new URL(service.url).port);
      busy.socket.write('POST /api/v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n');
      const more = Object.entries(headers()).map(([name, value]) => `${name}: ${value}\r\n`);
      busy.socket.write(`${more.join('')}\r\n{`);
      await untilUnderWay(service);
      service.process.kill('SIGINT');
      await service.line(({ msg }) => msg === 'not ready');
      service.process.kill('SIGTERM');
      assert.equal(await service.exited, 1);
    });

    test('an address that is taken is a fatal error, and an orderly end', async (t) => {
      const service = await start();
      t.after(() => service.stop('SIGKILL'));
      const { port } = new URL(service.url);
      const second = spawnService({ ...SETTINGS, DATABASE_URL: database.url, PORT: port }, command);
      t.after(() => second.stop('SIGKILL'));
      assert.equal(await second.exited, 1, second.output());
      const fatal = second.lines.find(({ msg }) => msg === 'fatal');
      assert.match(JSON.stringify(fatal), /: change HOST or PORT"/);
      for (const msg of ['fatal', 'database closed'])
        assert.ok(
          second.lines.some((line) => line.msg === msg),
          msg,
        );
      assert.equal((await fetch(`${service.url}/health`)).status, 200);
    });
  });
}

class Connection {
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
  received = '';

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.on('close', resolve));
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      this.received += chunk;
    });
  }

  static async open(port: string): Promise<Connection> {
    const socket = connect(Number(port), '127.0.0.1');
    await once(socket, 'connect');
    return new Connection(socket);
  }

  /** Sends `text` and resolves once what this connection has received matches `until`. */
  async ask(text: string, until: RegExp): Promise<void> {
    this.socket.write(text);
    while (!until.test(this.received)) await Promise.race([once(this.socket, 'data'), this.#ended()]);
  }

  async #ended(): Promise<never> {
    await this.closed;
    throw new Error(`closed after ${JSON.stringify(this.received)}`);
  }
}

/** Resolves once connections to `port` are refused. Retries if a connection is only queued. */
async function refused(port: string): Promise<void> {
  for (let code = ''; code !== 'ECONNREFUSED'; ) {
    const socket = connect(Number(port), '127.0.0.1');
    code = await new Promise((resolve) => {
      socket.on('connect', () => resolve(''));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    });
    socket.destroy();
  }
}

/** Resolves once a request has reached the app and is not answered yet, according to the service's metrics. */
async function untilUnderWay(service: Service): Promise<void> {
  const { url } = await service.line(({ msg }) => msg === 'metrics listening');
  for (let text = ''; !/^http_requests_in_flight 1$/m.test(text); ) text = await (await fetch(url as string)).text();
}
