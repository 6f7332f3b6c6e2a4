// How people and supervisors stop the service: each way is one signal, followed by an orderly stop.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { createDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, STOP_STEPS, spawnService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

const root = join(import.meta.dirname, '../..');
const CTRL_C = '\x03';
let database: Awaited<ReturnType<typeof createDatabase>>;
before(async () => {
  database = await createDatabase();
});
after(() => database.drop());

/** Starts the service in its own process group, which can be signaled as a whole and is killed after the test. */
function spawn(t: TestContext, command: string[], env: Record<string, string> = {}): Service {
  const production = { APP_ENV: 'production', SECRETS_KEY: Buffer.alloc(32, 7).toString('base64') };
  // Without the spinner that npm draws on terminals, in front of other output.
  const quiet = { NPM_CONFIG_PROGRESS: 'false' };
  const service = spawnService({ ...production, ...quiet, DATABASE_URL: database.url, ...env }, ['setsid', ...command]);
  t.after(() => {
    try {
      process.kill(-service.pid, 'SIGKILL');
    } catch {}
  });
  return service;
}

async function start(t: TestContext, command: string[], env?: Record<string, string>): Promise<Service> {
  const service = spawn(t, command, env);
  service.url = (await service.line(({ msg }) => msg === 'listening')).url as string;
  return service;
}

const quoted = (command: string[]) => command.map((word) => `'${word}'`).join(' ');
const npm = (...args: string[]) => ['npm', '--prefix', root, ...args];
const shell = (command: string[]) => ['sh', '-c', quoted(command)];
/** Runs the command on its own terminal, as a person does, but with JSON lines; what is written to it is typed. */
const terminal = (command: string[]) => {
  const line = `LOG_FORMAT=json exec ${quoted(command)}`;
  return ['script', '--quiet', '--return', '--echo', 'never', '--command', line, '/dev/null'];
};
const type = (service: Service, keys: string) => void service.process.stdin?.write(keys);
const tellAll = (service: Service, signal: NodeJS.Signals) => process.kill(-service.pid, signal);

/** Resolves with the exit code once nothing that writes to the log is left, and checks the order of the steps. */
async function stoppedInOrder(service: Service, steps = STOP_STEPS): Promise<number | string> {
  const late = setTimeout(tellAll, 30_000, service, 'SIGKILL');
  const code = await service.exited;
  clearTimeout(late);
  const told = service.lines.map(({ msg }) => msg).filter((msg) => steps.includes(msg));
  assert.deepEqual(told, steps, service.output());
  return code;
}

async function assertStopped(service: Service, steps?: string[]): Promise<void> {
  assert.equal(await stoppedInOrder(service, steps), 0, service.output());
}

const SCRIPTS = { node: ['start'], deno: ['run', 'start:deno'], bun: ['run', 'start:bun'] };

for (const [runtime, script] of Object.entries(SCRIPTS)) {
  describe(`npm ${script.join(' ')}`, { concurrency: 2 }, () => {
    test('Ctrl-C on a terminal, which npm passes on as well, stops it in order', async (t) => {
      const service = await start(t, terminal(npm(...script)));
      type(service, CTRL_C);
      await assertStopped(service);
    });

    test('SIGTERM to npm alone stops it in order, and leaves nothing behind', async (t) => {
      const service = await start(t, npm(...script));
      service.process.kill('SIGTERM');
      await assertStopped(service);
    });

    test('SIGTERM to every process at once, as from systemd, stops it in order', async (t) => {
      const service = await start(t, npm(...script));
      tellAll(service, 'SIGTERM');
      await assertStopped(service);
    });

    test('a container whose first process it is stops in order', async (t) => {
      const command = COMMANDS[runtime as keyof typeof COMMANDS];
      const service = await start(t, ['unshare', '--fork', '--pid', '--mount-proc', ...command]);
      process.kill(childOf(service.pid), 'SIGTERM');
      await assertStopped(service);
    });
  });
}

test('Ctrl-C stops it in order under a plain shell and under npx, whose exit codes are the shell’s', async (t) => {
  const services = await Promise.all([
    start(t, terminal(shell(COMMANDS.node))),
    start(t, terminal(npm('exec', '--call', quoted(COMMANDS.node)))),
  ]);
  for (const service of services) type(service, CTRL_C);
  await Promise.all(services.map((service) => stoppedInOrder(service)));
});

test('Ctrl-C, which reaches all of several processes, is one signal', async (t) => {
  const service = await start(t, terminal(npm('start')), { PROCESSES: '2' });
  type(service, CTRL_C);
  await assertStopped(service, ['workers stopped', 'metrics listener closed']);
  const stopping = service.lines.filter(({ msg }) => msg === 'stopping');
  assert.equal(stopping.length, 3, 'each once');
  // It does not matter which of the two a worker receives first, the terminal's or the first process's.
  assert.equal(stopping.find(({ pid }) => pid === undefined)?.why, 'SIGINT');
});

test("a container's first process hears a signal before it listens", async (t) => {
  const service = spawn(t, ['unshare', '--fork', '--pid', '--mount-proc', ...COMMANDS.node]);
  // A signal before its handler is lost: there is no default action there.
  const telling = setInterval(() => {
    try {
      const pid = childOf(service.pid);
      if (pid) process.kill(pid, 'SIGTERM');
    } catch {
      // It has ended.
    }
  }, 20);
  t.after(() => clearInterval(telling));
  assert.equal(await service.exited, 0, service.output());
  assert.deepEqual(
    service.lines.filter(({ msg }) => msg === 'listening'),
    [],
  );
});

test('who presses Ctrl-C again does not wait for what is under way', async (t) => {
  const service = await start(t, terminal(npm('start')));
  const { hostname, port } = new URL(service.url);
  const busy = connect(Number(port), hostname).on('error', () => {});
  t.after(() => busy.destroy());
  const head = Object.entries({ ...headers(), Host: 'x', 'Content-Length': '9' });
  busy.write(
    `POST /api/v1/webhook-endpoints HTTP/1.1\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n{`,
  );
  await untilUnderWay(service);
  type(service, CTRL_C);
  await service.line(({ msg }) => msg === 'not ready');
  // Once it has stopped, nothing reads what is typed.
  service.process.stdin?.on('error', () => {});
  const again = setInterval(type, 100, service, CTRL_C);
  t.after(() => clearInterval(again));
  assert.equal(await service.exited, 1, service.output());
  assert.equal(service.lines.at(-1)?.msg, 'stopped at once');
});

/** The one child of a process; 0 before there is any. */
function childOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]);
}

/** Resolves once a request has reached the app and is not answered yet. */
async function untilUnderWay(service: Service): Promise<void> {
  const { url } = await service.line(({ msg }) => msg === 'metrics listening');
  for (let text = ''; !/^http_requests_in_flight 1$/m.test(text); ) text = await (await fetch(url as string)).text();
}
