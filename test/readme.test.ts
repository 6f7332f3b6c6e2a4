import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { inClone } from './support/clone.ts';
import { startCommand } from './support/command.ts';
import { freePort } from './support/postgres-server.ts';
import { PRINTED_CURL } from './support/service.ts';

const root = join(import.meta.dirname, '..');

/** The commands of README.md's session. */
function sessionCommands(): string {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [section = ''] = readme.match(/^## A session$[\s\S]*?(?=^## )/m) ?? [];
  return Array.from(section.matchAll(/^```sh\n([\s\S]*?)^```$/gm), ([, commands]) => commands).join('');
}

/** The same commands, on other ports than they name. */
function onPorts(commands: string, { service, receiver }: { service: number; receiver: number }): string {
  const changes = [
    ['http://127.0.0.1:8787/', `http://127.0.0.1:${service}/`],
    ['http://127.0.0.1:9999/', `http://127.0.0.1:${receiver}/`],
    ['receiver -- ', `receiver -- --port ${receiver} `],
  ] as const;
  return changes.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from);
    return text.replaceAll(from, to);
  }, commands);
}

/** Creates a folder that is a clone to npm: the same commands, and no data yet. */
function freshClone(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-readme-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  copyFileSync(join(root, 'package.json'), join(directory, 'package.json'));
  for (const name of ['src', 'node_modules']) symlinkSync(join(root, name), join(directory, name));
  return directory;
}

test("the README's session ends in a verified webhook, again and again, beside the curl that npm start prints", {
  skip: inClone,
}, async (t) => {
  const ports = { service: await freePort(), receiver: await freePort() };
  const cwd = freshClone(t);
  const env = { HOME: cwd, PORT: String(ports.service), METRICS_ADDR: 'off', npm_config_update_notifier: 'false' };
  const service = startCommand(['npm', 'start'], { cwd, env });
  t.after(async () => {
    service.process.kill('SIGTERM');
    await service.ended;
  });
  const [curl] = await service.printed(PRINTED_CURL);

  writeFileSync(join(cwd, 'session'), onPorts(sessionCommands(), ports));
  writeFileSync(join(cwd, 'printed'), curl);
  // On stdin, as when pasted: a command that reads it would consume the rest.
  async function paste(file: string): Promise<string> {
    const shell = startCommand(['bash', '-c', `exec bash < ${file}`], { cwd, env });
    assert.equal(await shell.ended, 0, shell.output() + shell.errors());
    return shell.output();
  }

  for (const file of ['session', 'printed', 'session', 'printed']) {
    const output = await paste(file);
    const statuses = Array.from(output.matchAll(/^HTTP\/1\.1 (\d+)/gm), ([, status]) => status);
    assert.deepEqual(statuses, file === 'session' ? ['201', '201'] : ['201'], output);
    if (file === 'printed') continue;
    assert.equal(output.match(/^Idempotent-Replayed: true\r$/gim)?.length, 1, output);
    assert.equal(output.match(/^\S+Z {2}user\.created {2}\S+ {2}verified, new$/gm)?.length, 1, output);
    assert.match(
      output.trimEnd().split('\n').at(-1) ?? '',
      /^\{"data":\[\{.*"type":"user\.created","channel":"webhook"/,
    );
  }
});
