import { checkWebhookUrl } from '../dispatcher/channels/address.ts';
import { readSome, type Send, SendError, withinTime } from '../dispatcher/channels/send.ts';

type Options = { allowPrivate: boolean; timeoutMs: number };

/** `Send` by fetch, for Cloudflare Workers, whose network keeps fetch away from private addresses. */
export function fetchSend({ allowPrivate, timeoutMs }: Options): Send {
  return ({ url, headers, body }) =>
    withinTime(timeoutMs, async (limit) => {
      if (checkWebhookUrl(url, { allowPrivate })) throw new SendError('address not allowed');
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: limit });
      await readSome(response);
      limit.throwIfAborted();
      return { status: response.status, retryAfter: response.headers.get('retry-after') };
    });
}
