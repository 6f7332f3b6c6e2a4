import { retryAfterMs } from '../retry.ts';
import type { Attempt, Channel } from './channel.ts';
import { mailFor } from './email.ts';
import { isRedirect, readTruncated, statusError, toSendError, withTimeout } from './send.ts';

type Options = { apiKey: string; url: string; from: string; fetch?: typeof fetch; timeoutMs: number };

/** Client errors that go away when the provider, or the operator's account with it, works again. */
const RETRYABLE_STATUSES = new Set([401, 403, 408, 429]);

/**
 * Sends email through Resend. The notification's id is the idempotency key: for 24 hours, retries are not sent again.
 */
export function resendEmail({ apiKey, url, from, fetch: request = fetch, timeoutMs }: Options): Channel {
  return async ({ id, body, recipient }) => {
    if (!recipient) return { ok: false, status: null, error: 'there is no recipient', final: true };
    try {
      return await withTimeout(timeoutMs, async (limit) => {
        const response = await request(`${url.replace(/(?<!\/)\/+$/, '')}/emails`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${apiKey}`,
            'content-type': 'application/json',
            'idempotency-key': id,
            // Resend requires one, and fetch on Workers sends none by default.
            'user-agent': 'Keelson/1',
          },
          body: JSON.stringify({ from, to: [recipient], ...mailFor(body) }),
          redirect: 'manual',
          signal: limit,
        });
        return attemptOf(response, await readTruncated(response));
      });
    } catch (error) {
      return { ok: false, status: null, error: toSendError(error).message };
    }
  };
}

function attemptOf({ status, headers }: Response, answer: string): Attempt {
  if (status >= 200 && status < 300) return { ok: true, status };
  const error = statusError(status);
  const again =
    isRedirect(status) || status >= 500 || RETRYABLE_STATUSES.has(status) || (status === 409 && isInProgress(answer));
  if (!again) return { ok: false, status, error, final: true };
  return { ok: false, status, error, retryAfterMs: retryAfterMs(headers.get('retry-after'), Date.now()) };
}

/** Any other 409 says that the key was used for another email, which a retry does not change. */
function isInProgress(answer: string): boolean {
  return /"concurrent_idempotent_requests"/.test(answer);
}
