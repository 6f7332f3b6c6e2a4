// Faults between the service and its database.
import { randomUUID } from 'node:crypto';
import { setTimeout as pass } from 'node:timers/promises';
import { headers } from '../../support/tokens.ts';
import type { Fault } from '../fault.ts';
import type { World } from '../world.ts';

const kind = 'network';

/** Lets the service open more connections than it needs at a time. */
async function fillPool({ proxy, url }: Pick<World, 'proxy' | 'url'>): Promise<void> {
  const ask = () => fetch(`${url}/api/v1/webhook-endpoints/${randomUUID()}`, { method: 'DELETE', headers: headers() });
  proxy.delay(50);
  await Promise.all(Array.from({ length: 8 }, async () => (await ask()).arrayBuffer()));
  proxy.delay(0);
}

export const networkFaults: Fault[] = [
  {
    name: 'everything 150 ms late, each way',
    kind,
    ready: 'stays',
    harmless: true,
    async strike({ proxy, url }, { holdMs, untrue }) {
      proxy.delay(150);
      const asked = performance.now();
      await (await fetch(`${url}/ready`)).arrayBuffer();
      if (performance.now() - asked < 300) untrue('nothing was late');
      await pass(holdMs);
      proxy.delay(0);
    },
  },
  {
    name: 'everything two seconds late, each way',
    kind,
    ready: 'turns',
    async strike({ proxy }, { holdMs }) {
      proxy.delay(2000);
      await pass(holdMs);
      proxy.delay(0);
    },
  },
  {
    name: 'connections reset half-way through answers',
    kind,
    ready: 'any',
    short: true,
    async strike({ proxy }, { holdMs }) {
      proxy.cutAnswers(150);
      await pass(holdMs);
      proxy.cutAnswers(Number.POSITIVE_INFINITY);
    },
  },
  {
    name: 'connections reset, again and again',
    kind,
    ready: 'any',
    async strike({ proxy }, { holdMs }) {
      for (const end = performance.now() + holdMs; performance.now() < end; await pass(100)) proxy.cut();
    },
  },
  {
    name: 'open connections dead without a word, new ones well',
    kind,
    ready: 'any',
    short: true,
    async strike({ proxy, url }) {
      // Otherwise only the dispatcher and /ready might meet the dead ones.
      await fillPool({ proxy, url });
      proxy.goDead();
    },
  },
  {
    name: 'all connections dead without a word, new ones too',
    kind,
    ready: 'turns',
    async strike({ proxy }, { holdMs }) {
      proxy.goDead();
      proxy.blackHole(true);
      await pass(holdMs);
      proxy.blackHole(false);
    },
  },
  {
    name: 'new connections taken and never answered',
    kind,
    ready: 'turns',
    async strike({ proxy }, { holdMs }) {
      proxy.holdNew(true);
      proxy.cut();
      await pass(holdMs);
      proxy.holdNew(false);
    },
  },
];
