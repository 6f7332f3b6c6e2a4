import { BoundedMap } from '../../bounded-map.ts';
import type { SecretBox } from '../../deps.ts';
import { retryAfterMs } from '../retry.ts';
import type { Attempt, Channel } from './channel.ts';
import { type Answer, type Send, SendError, statusError } from './send.ts';
import type { Sign } from './sign.ts';

type WebhookDeps = { send: Send; secrets: Pick<SecretBox, 'open'>; now: () => Date; sign: Sign };

const PREFIX = 'whsec_';
/** How many keys are cached. Beyond this number, the oldest is dropped. */
const MAX_KEYS = 10_000;

/** Delivers by Standard Webhooks 1.0.0. Rejects if a secret cannot be opened: a defect, which the dispatcher logs. */
export function webhookChannel({ send, secrets, now, sign }: WebhookDeps): Channel {
  const keys = new BoundedMap<string, Uint8Array<ArrayBuffer>>(MAX_KEYS);

  async function openKey(sealed: string): Promise<Uint8Array<ArrayBuffer>> {
    const key = secretBytes(await secrets.open(sealed));
    keys.set(sealed, key);
    return key;
  }

  return async ({ id, body, endpoint, traceparent }, span) => {
    if (!endpoint) return { ok: false, status: null, error: 'the endpoint was deleted', final: true };
    if (endpoint.status === 'disabled') {
      return { ok: false, status: null, error: 'the endpoint is disabled', final: true };
    }
    const timestamp = Math.floor(now().getTime() / 1000);
    const content = `${id}.${timestamp}.${body}`;
    const signatures: string[] = [];
    for (const sealed of endpoint.secrets) {
      const key = keys.get(sealed) ?? (await openKey(sealed));
      signatures.push(`v1,${await sign(key, content)}`);
    }
    const call = span?.call('POST');
    // Without a span, the message's own traceparent is passed on.
    const parent = call?.traceparent ?? traceparent;
    const headers = {
      'content-type': 'application/json',
      'user-agent': 'Keelson-Webhooks/1',
      'webhook-id': id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': signatures.join(' '),
      ...(parent && { traceparent: parent }),
    };
    try {
      const answer = await send({ url: endpoint.url, headers, body });
      call?.end(answer);
      return attemptOf(answer, now);
    } catch (error) {
      call?.end({ error: error instanceof SendError ? error.message : undefined });
      if (!(error instanceof SendError)) throw error;
      return { ok: false, status: null, error: error.message };
    }
  };
}

function attemptOf({ status, retryAfter }: Answer, now: () => Date): Attempt {
  if (status >= 200 && status < 300) return { ok: true, status };
  const error = statusError(status);
  // 410 Gone: the receiver has unsubscribed.
  if (status === 410) return { ok: false, status, error, final: true };
  return { ok: false, status, error, retryAfterMs: retryAfterMs(retryAfter, now().getTime()) };
}

function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  if (!secret.startsWith(PREFIX)) throw new Error(`a webhook secret must start with ${PREFIX}`);
  return Uint8Array.from(atob(secret.slice(PREFIX.length)), (char) => char.charCodeAt(0));
}
