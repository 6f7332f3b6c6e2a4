import { MAX_ANSWER_BYTES, type Send, SendError, toSendError } from '../notifications/channels/send.ts';
import { checkWebhookUrl, isPublicAddress } from '../webhook-endpoints/address.ts';

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
    if (allowPrivate || !resolve || /^[[\d.]+/.test(hostname)) return;
    const addresses = await resolve(hostname, signal);
    if (!addresses.every(isPublicAddress)) throw new SendError('address not allowed');
  }

  return async ({ url, headers, body }, signal) => {
    const limit = new AbortController();
    const abort = (reason: string) => limit.abort(new SendError(reason));
    const breakOff = () => abort('broken off');
    const timer = setTimeout(abort, timeoutMs, 'timed out');
    signal.addEventListener('abort', breakOff);
    if (signal.aborted) breakOff();
    try {
      await refuseUnlessAllowed(url, limit.signal);
      limit.signal.throwIfAborted();
      const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: limit.signal });
      await readSome(response);
      limit.signal.throwIfAborted();
      return { status: response.status, retryAfter: response.headers.get('retry-after') };
    } catch (error) {
      throw toSendError(limit.signal.aborted ? limit.signal.reason : error);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', breakOff);
    }
  };
}

/** Reads on, so that the connection can be used again, but no further than is worth it. */
async function readSome({ body }: Response): Promise<void> {
  if (!body) return;
  const reader = body.getReader();
  try {
    for (let received = 0; received <= MAX_ANSWER_BYTES; ) {
      const { done, value } = await reader.read();
      if (done) return;
      received += value.byteLength;
    }
    await reader.cancel();
  } catch {
    // The status has been read, and decides.
  }
}
