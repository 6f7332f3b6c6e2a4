import { Webhook } from 'standardwebhooks';

/** Why verification of a webhook fails, according to the specification's own library. Undefined if it succeeds. */
export type Verify = (body: Uint8Array, headers: Record<string, string>) => string | undefined;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Verifies webhooks as a receiver does (Standard Webhooks 1.0.0). Checks the exact bytes, which the library takes as text.
 * Throws if `secret` is not a webhook secret.
 */
export function verifierOf(secret: string): Verify {
  const webhook = new Webhook(secret);
  return (body, headers) => {
    try {
      webhook.verify(utf8.decode(body), headers, { jsonParse: false });
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };
}
