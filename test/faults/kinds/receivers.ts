// Webhook receivers: one misbehaves, the others must not notice, and what is for it must end too.
import assert from 'node:assert/strict';
import { setTimeout as pass } from 'node:timers/promises';
import { type BadReceivers, badReceivers } from '../../support/bad-receivers.ts';
import { headers } from '../../support/tokens.ts';
import type { Fault } from '../fault.ts';
import { registerEndpoint } from '../world.ts';

/** Fewer than pause an endpoint over all strikes, so that each of them ends at its only attempt. */
const EACH_TIME = 3;

const bad = (name: string, receiver: (bad: BadReceivers) => Promise<string> | string, short = false): Fault => ({
  name,
  kind: 'receivers',
  ready: 'stays',
  harmless: true,
  short,
  world: { env: { DISPATCH_MAX_ATTEMPTS: '1' } },
  async strike({ url }, { holdMs }) {
    const receivers = badReceivers();
    const id = await registerEndpoint(url, await receiver(receivers), ['nothing.ever']);
    for (let i = 0; i < EACH_TIME; i++) {
      const asked = await fetch(`${url}/api/v1/webhook-endpoints/${id}/test`, { method: 'POST', headers: headers() });
      assert.equal(asked.status, 202);
    }
    await pass(holdMs);
    receivers.close();
  },
});

export const receiverFaults: Fault[] = [
  bad('one never answers', (receivers) => receivers.neverAnswers()),
  bad('one answers a byte a second', (receivers) => receivers.drips()),
  bad('one answers with a gigabyte', (receivers) => receivers.floods(), true),
  bad('one closes in the middle of a header', (receivers) => receivers.closesMidHeader()),
  bad('one redirects to a metadata address', (receivers) => receivers.redirectsInside()),
  bad('one has a name that resolves to nothing', (receivers) => receivers.resolvesToNothing()),
];
