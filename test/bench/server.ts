import { setTimeout as pass } from 'node:timers/promises';
import { freePort } from '../support/postgres-server.ts';
import { type Service, spawnService } from '../support/service.ts';

/** The service under load. Nobody reads its logs, as under a supervisor that is not part of the figures. */
export type Server = { url: string; pid: number; readyMs: number; stop: Service['stop'] };

const READY_WITHIN_MS = 30_000;

/** Starts the Node entry on a migrated database and waits until it is ready. */
export async function startServer(databaseUrl: string, env: Record<string, string> = {}): Promise<Server> {
  const port = await freePort();
  const began = performance.now();
  const service = spawnService(
    {
      NODE_ENV: 'production',
      PORT: String(port),
      METRICS_ADDR: 'off',
      DATABASE_URL: databaseUrl,
      SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
      RATE_LIMIT_MAX: '1000000000',
      ...env,
    },
    undefined,
    { unread: true },
  );
  const url = `http://127.0.0.1:${port}`;
  for (;;) {
    if (await isReady(url)) break;
    const { exitCode } = service.process;
    if (exitCode !== null) throw new Error(`the service ended with ${exitCode} before it was ready`);
    if (performance.now() - began > READY_WITHIN_MS) {
      await service.stop('SIGKILL');
      throw new Error(`the service was not ready within ${READY_WITHIN_MS} ms`);
    }
    await pass(5);
  }
  return { url, pid: service.pid, readyMs: performance.now() - began, stop: service.stop };
}

async function isReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/ready`);
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
