import { checkWebhookUrl, isPublicAddress } from '../dispatcher/channels/address.ts';
import { readSome, type Send, SendError, withinTime } from '../dispatcher/channels/send.ts';

type Options = {
  allowPrivate: boolean;
  timeoutMs: number;
  /**
   * What a name resolves to; rejects once the signal aborts. Needed wherever the network itself does not keep fetch
   * off private addresses, which Cloudflare's does; a name that changes its answer in between is not caught.
   */
  resolve?: (hostname: string, signal: AbortSignal) => Promise<string[]>;
};

/** `Send` over fetch, for the runtimes that have nothing better. */
export function fetchSend({ allowPrivate, timeoutMs, resolve }: Options): Send {
  async function refuseUnlessAllowed(url: string, signal: AbortSignal): Promise<void> {
    if (checkWebhookUrl(url, { allowPrivate })) throw new SendError('address not allowed');
    const { hostname } = new URL(url);
    if (allowPrivate || !resolve || /^(\[|[\d.]+$)/.test(hostname)) return;
    const addresses = await resolve(hostname, signal);
    if (!addresses.every(isPublicAddress)) throw new SendError('address not allowed');
  }

  return ({ url, headers, body }) =>
    withinTime(timeoutMs, async (limit) => {
      await refuseUnlessAllowed(url, limit);
      limit.throwIfAborted();
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: limit });
      await readSome(response);
      limit.throwIfAborted();
      return { status: response.status, retryAfter: response.headers.get('retry-after') };
    });
}
