import { checkWebhookUrl } from '../dispatcher/channels/address.ts';
import { readTruncated, type Send, SendError, withTimeout } from '../dispatcher/channels/send.ts';

type Options = { allowPrivate: boolean; timeoutMs: number };

/** `Send` by fetch, for Cloudflare Workers, whose network keeps fetch away from private addresses. */
export function fetchSend({ allowPrivate, timeoutMs }: Options): Send {
  return ({ url, headers, body }) =>
    withTimeout(timeoutMs, async (limit) => {
      if (checkWebhookUrl(url, { allowPrivate })) throw new SendError('address not allowed');
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: limit });
      await readTruncated(response);
      limit.throwIfAborted();
      return { status: response.status, retryAfter: response.headers.get('retry-after') };
    });
}
