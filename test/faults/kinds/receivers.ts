// Webhook receivers: one misbehaves, the others must not be affected, and its deliveries must end too.
import assert from 'node:assert/strict';
import { setTimeout as pass } from 'node:timers/promises';
import { type BadReceivers, badReceivers } from '../../support/bad-receivers.ts';
import { headers } from '../../support/tokens.ts';
import type { Fault } from '../fault.ts';
import { registerEndpoint } from '../world.ts';

/** Too few over all strikes to pause an endpoint, so that each of them ends at its only attempt. */
const EACH_TIME = 3;
const ENDS_WITHIN_MS = 30_000;

/** `error` is the error that the attempts at the receiver must end with. */
const bad = (
  name: string,
  error: string,
  receiver: (bad: BadReceivers) => Promise<string> | string,
  short = false,
): Fault => ({
  name,
  kind: 'receivers',
  ready: 'stays',
  harmless: true,
  short,
  // With one attempt, a machine that stalls for a moment would end healthy deliveries.
  world: { env: { DISPATCH_MAX_ATTEMPTS: '1', DELIVERY_TIMEOUT_MS: '5000', DISPATCH_LEASE_MS: '10000' } },
  async strike({ url }, { holdMs, untrue }) {
    const receivers = badReceivers();
    try {
      const end = pass(holdMs);
      const id = await registerEndpoint(url, await receiver(receivers), ['nothing.ever']);
      for (const it of await Promise.all(Array.from({ length: EACH_TIME }, () => endOfTest(url, id)))) {
        if (it.status !== 'dead' || it.lastError !== error) untrue(`a test ended as ${it.status}: ${it.lastError}`);
      }
      await end;
    } finally {
      receivers.close();
    }
  },
});

/** Asks for a test of an endpoint, and polls until that has ended. */
async function endOfTest(api: string, id: string): Promise<{ status: string; lastError: string | null }> {
  const asked = await fetch(`${api}/api/v1/webhook-endpoints/${id}/test`, { method: 'POST', headers: headers() });
  assert.equal(asked.status, 202);
  const queued = (await asked.json()) as { id: string };
  for (const end = performance.now() + ENDS_WITHIN_MS; ; await pass(50)) {
    const answer = await fetch(`${api}/api/v1/notifications/${queued.id}`, { headers: headers() });
    const shown = (await answer.json()) as { status: string; lastError: string | null };
    if ((answer.ok && shown.status !== 'pending') || performance.now() > end) return shown;
  }
}

export const receiverFaults: Fault[] = [
  bad('one never answers', 'timed out', (receivers) => receivers.neverAnswers()),
  bad('one answers a byte a second', 'timed out', (receivers) => receivers.drips()),
  bad('one answers with a gigabyte', 'HTTP 500', (receivers) => receivers.floods(), true),
  bad('one closes in the middle of a header', 'connection closed', (receivers) => receivers.closesMidHeader()),
  bad('one redirects to a metadata address', 'redirect refused', (receivers) => receivers.redirectsInside()),
  bad('one has a name that resolves to nothing', 'name does not resolve', (receivers) => receivers.resolvesToNothing()),
];
