import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Sign } from '../notifications/channels/sign.ts';

/** Faster on Node than WebCrypto, which goes through the thread pool. A key takes most of the time: it is made once. */
export function nodeSign(): Sign {
  const keys = new WeakMap<Uint8Array, KeyObject>();
  return (key, content) => {
    const known = keys.get(key) ?? createSecretKey(key);
    keys.set(key, known);
    return createHmac('sha256', known).update(content).digest('base64');
  };
}
