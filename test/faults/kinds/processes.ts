// Faults of the service's own processes.
import { join } from 'node:path';
import { setTimeout as pass } from 'node:timers/promises';
import type { Fault } from '../fault.ts';
import type { World } from '../world.ts';

const kind = 'processes';

/** Kills process `index` at a random moment, and starts it again. */
async function killAndRestart({ services, restart }: World, index: number, random: () => number): Promise<void> {
  await pass(random() * 500);
  await services[index]?.stop('SIGKILL');
  await restart(index);
}

const rolling = (runtime: 'node' | 'deno' | 'bun'): Fault => ({
  name: `two in turn stopped in order and started again, 200 requests a second, on ${{ node: 'Node', deno: 'Deno', bun: 'Bun' }[runtime]}`,
  kind,
  // Probed through the balancer, which learns of a stop a moment late.
  ready: 'any',
  harmless: true,
  unnoticed: true,
  // A stall of the machine is no refusal.
  world: {
    processes: 'two',
    runtime,
    perSecond: 200,
    env: { REQUEST_TIMEOUT_MS: '15000', SHUTDOWN_TIMEOUT_MS: '20000' },
  },
  async strike({ services, restart, balancer }, { untrue }) {
    for (const [index, service] of [...services].entries()) {
      const code = await service.stop();
      if (code !== 0) untrue(`stopped with ${code}`);
      await restart(index);
      await balancer?.until(service.url, true);
    }
  },
});

export const processFaults: Fault[] = [
  {
    name: 'the API killed',
    kind,
    ready: 'any',
    drops: true,
    short: true,
    world: { processes: 'split' },
    strike: (world, { random }) => killAndRestart(world, 0, random),
  },
  {
    name: 'the dispatcher killed',
    kind,
    ready: 'stays',
    harmless: true,
    short: true,
    world: { processes: 'split' },
    strike: (world, { random }) => killAndRestart(world, 1, random),
  },
  {
    name: 'one of two workers behind the port killed',
    kind,
    ready: 'any',
    drops: true,
    harmless: true,
    world: { env: { PROCESSES: '2' } },
    async strike({ services: [service] }, { random }) {
      const told = (what: string) => service?.lines.filter(({ msg }) => msg === what).map(({ worker }) => worker) ?? [];
      const dead = told('worker died');
      const living = told('worker started').filter((worker) => !dead.includes(worker));
      const before = told('worker started').length;
      process.kill(Number(living[Math.floor(random() * living.length)]), 'SIGKILL');
      await service?.line(() => told('worker started').length > before);
    },
  },
  {
    name: 'killed in the middle of writing, with the embedded database',
    kind,
    ready: 'any',
    drops: true,
    world: { by: 'pglite', perSecond: 30 },
    strike: (world, { random }) => killAndRestart(world, 0, random),
  },
  rolling('node'),
  rolling('deno'),
  rolling('bun'),
  {
    name: "the service's clock an hour ahead, then an hour behind",
    kind,
    ready: 'stays',
    harmless: true,
    world: { env: { NODE_OPTIONS: `--import ${join(import.meta.dirname, '../step-clock.js')}` } },
    async strike({ services: [service] }, { holdMs }) {
      for (let step = 0; step < 3; step++) {
        service?.process.kill('SIGUSR2');
        await pass(holdMs / 3);
      }
    },
  },
];
